"""How a workbook shows numbers, and how large the used range of a sheet may be."""

from __future__ import annotations

import io
from zipfile import ZipFile

import pytest
from hutong_client.tables.formats.marks import read_template
from hutong_client.tables.formats.ods_marks import read_ods
from hutong_client.tables.rows import NotATable


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


@pytest.mark.parametrize("kind", ['office:value-type="float"', 'calcext:value-type="error"'])
def test_cell_that_is_repeated_too_often_is_refused(kind: str) -> None:
    """A few bytes must not fill the memory."""
    content = io.BytesIO()
    cell = f'<table:table-cell {kind} table:number-columns-repeated="1000000000"/>'
    with ZipFile(content, "w") as archive:
        archive.writestr("content.xml", f"<table:table><table:table-row>{cell}</table:table-row></table:table>")
        with pytest.raises(NotATable, match="1000000000 columns"):
            read_ods(archive)
