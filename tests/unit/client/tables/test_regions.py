"""Regions by their names."""

from __future__ import annotations

import pytest
from hutong_client.tables.faults import BadCell
from hutong_client.tables.regions import full_name, read_region, read_region_cell, show_region
from hutong_texts import CHINESE, speaking
from stdnum import numdb


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("410105", "410105"),
        ("abc", "abc"),
        ("", ""),
        ("郑州", "410100"),
        ("郑州市", "410100"),
        ("金水区", "410105"),
        ("郑州金水区", "410105"),
        ("河南省郑州市金水区", "410105"),
        (" 河南 郑州 金水 ", "410105"),
        ("南京鼓楼区", "320106"),
        ("北京朝阳区", "110105"),
        ("吉林", "220000"),
        ("吉林市", "220200"),
        ("内蒙古", "150000"),
        ("广西", "450000"),
        ("临平区", "330113"),
        ("香港", "810000"),
        ("全国", "000000"),
    ],
)
def test_region_is_found_by_its_name(name: str, code: str) -> None:
    """Full names, names without their ending, and names after those of regions above. A code stays as it is."""
    assert read_region(name) == code


@pytest.mark.parametrize(
    ("name", "candidates"),
    [("鼓楼区", ("320106", "350102", "410204")), ("朝阳", ("211300", "110105")), ("市中区", ("370103",))],
)
def test_ambiguous_name_is_refused_with_the_candidates(name: str, candidates: tuple[str, ...]) -> None:
    """The error lists the regions with those above them, so that the right one can be named."""
    with pytest.raises(BadCell, match="several regions have this name") as caught:
        read_region(name)
    assert caught.value.reason == "REGION_UNKNOWN"
    assert all(candidate in caught.value.description for candidate in candidates)


@pytest.mark.parametrize("name", ["不存在", "河南不存在", "郑州郑州", "市辖区", "崇文区"])
def test_unknown_name_is_refused(name: str) -> None:
    """Names of no region, of groups of regions, and of regions that were abolished. The error does not repeat them."""
    with pytest.raises(BadCell, match="no region has this name") as caught:
        read_region(name)
    assert name not in caught.value.description


def test_full_name_of_every_county_leads_back_to_it() -> None:
    """Whatever region the command shows by name, it understands."""
    codes = [
        start + rest
        for _, start, _, _, children in numdb.get("cn/loc").prefixes
        for _, rest, _, _, _ in children[::40]
        if full_name(start + rest) != start + rest
    ]
    assert len(codes) > 80
    assert [code for code in codes if read_region(full_name(code)) != code] == []


def test_region_of_a_file_is_its_code_or_its_name() -> None:
    """Workbooks have codes as numbers."""
    assert [read_region_cell(cell) for cell in (410105.0, "４１０１０５", "郑州市金水区")] == ["410105"] * 3


def test_region_is_shown_by_name_in_chinese_alone() -> None:
    """In English the code is shown."""
    assert show_region("410105") == "410105"
    with speaking(CHINESE):
        assert show_region("410105") == "河南省郑州市金水区 410105"
        assert show_region("999999") == "999999"
