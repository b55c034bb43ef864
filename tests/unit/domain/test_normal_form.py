"""The normal form under which printed names are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.normal_form import MAX_LENGTH, normal_form


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("郑州胡同医学检验所", " 郑州 胡同医学\u3000检验所 "),
        ("KINGMED 检验所(北区)", "ｋｉｎｇｍｅｄ检验所（北区）"),
        ("阿依·古丽门诊", "阿依・古丽门诊"),
        ("甲-乙检验所", "甲—乙检验所"),
        ("检验所\u200b", "检验所"),
        ("STRASSE", "straße"),
    ],
)
def test_one_name_is_printed_in_many_ways(one: str, other: str) -> None:
    """Width, case, spaces, hyphens and middle dots do not make another name."""
    assert normal_form(one) == normal_form(other) != ""


@pytest.mark.parametrize("other", ["郑州胡同检验所", "郑州胡同医学检验", "郑州胡同医学检验所有限公司", ""])
def test_names_are_not_compared_by_likeness(other: str) -> None:
    assert normal_form("郑州胡同医学检验所") != normal_form(other)


@given(st.text())
def test_a_normal_form_is_its_own_and_fits_its_column(name: str) -> None:
    """Forming it again changes nothing unless it was cut."""
    form = normal_form(name)
    assert len(form) <= MAX_LENGTH
    if len(form) < MAX_LENGTH:
        assert normal_form(form) == form
