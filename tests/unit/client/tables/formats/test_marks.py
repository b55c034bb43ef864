"""How a workbook shows numbers."""

from __future__ import annotations

import pytest
from hutong_client.tables.formats.marks import read_template


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("0000", "0007"),
        ('"R"0000', "R0007"),
        ('"TH-"0', "TH-7"),
        (r"\R\-000", "R-007"),
        ('"编号"00', "编号07"),
        ('"{0}A"00', "{0}A07"),
    ],
)
def test_number_is_shown_with_zeros_and_letters(code: str, shown: str) -> None:
    assert read_template(code).format(7) == shown


@pytest.mark.parametrize("code", ["", "0", "General", "@", "#,##0", "0.00", '"¥"0', '0"人"', "yyyy-mm-dd", "R0000"])
def test_other_formats_leave_the_number(code: str) -> None:
    """A sign of a currency and a unit make no other number. A letter that is not quoted is no letter to Excel."""
    assert read_template(code) == ""
