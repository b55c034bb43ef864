"""GB/T 2260: every code there is has its ancestry; what is not there is refused."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

from services.domain.region import NATION, ancestry, is_region, parent, prefix, same_province, set_added_regions, within


def table() -> list[str]:
    """Every code in python-stdnum's table, read from the file itself: province digits, then the four after them."""
    codes: list[str] = []
    for line in files("stdnum.cn").joinpath("loc.dat").read_text("utf-8").splitlines():
        if match := re.match(r"(\d{2})\s", line):
            province = match.group(1)
        elif match := re.match(r"\s+(\d{4})\s", line):
            codes.append(province + match.group(1))
    return codes


TABLE = table()
DIVISIONS = Path(__file__).with_name("division_codes_2023.txt")


def test_every_code_in_the_table_is_a_region() -> None:
    """Thousands of counties, prefectures and provinces, abolished ones among them."""
    assert len(TABLE) > 3000
    assert [code for code in TABLE if not is_region(code)] == []


def is_statistical(code: str) -> bool:
    """Whether a code is of a statistical unit and not of GB/T 2260.

    Development zones and the like have 71 to 79 as their last digits. Five units have others: the islands of Sansha
    (460321 to 460323), the city of Jiayuguan as its own county (620201) and Da Qaidam (632857).
    """
    return "71" <= code[4:] <= "79" or code in {"460321", "460322", "460323", "620201", "632857"}


def test_every_code_of_an_independent_list_is_a_region() -> None:
    """The list is of 2023, and made by others than the library's table."""
    listed = [code for code in DIVISIONS.read_text("utf-8").splitlines() if not code.startswith("#")]
    assert len(listed) > 3300
    assert [code for code in listed if not is_region(code) and not is_statistical(code)] == []


@pytest.mark.parametrize("code", ["330113", "330114"])
def test_the_districts_that_the_library_lacks(code: str) -> None:
    """Linping and Qiantang, founded in 2021: of Hangzhou, Zhejiang. If the library learns them, drop our own table."""
    assert code not in TABLE
    assert ancestry(code) == (code, "330100", "330000", NATION)
    assert all(map(is_region, ancestry(code)))


def test_the_districts_they_were_made_of_stay_regions() -> None:
    """Xiacheng and Jianggan were abolished in 2021; Yuhang goes on with other borders."""
    assert all(map(is_region, ["330103", "330104", "330110"]))


def test_added_regions_replace_those_added_before() -> None:
    """If one process reads two sets of settings, the later one counts."""
    try:
        set_added_regions(["330199"])
        assert is_region("330199")
        set_added_regions(["330198"])
        assert not is_region("330199")
        assert within("330198", "330000")
    finally:
        set_added_regions([])


def test_every_region_leads_up_to_the_nation() -> None:
    """Each ancestry ends with the nation, goes strictly upwards and stays in one province."""
    for code in TABLE:
        line = ancestry(code)
        assert line[0] == code
        assert line[-1] == NATION
        assert len(line) == len(set(line)) <= 4
        assert all(same_province(code, region) for region in line[:-1])
        assert all(above == parent(below) for below, above in pairwise(line))
        assert is_region(code[:2] + "0000")


@pytest.mark.parametrize(
    ("code", "above"),
    [
        ("410105", ("410105", "410100", "410000", "000000")),
        ("410100", ("410100", "410000", "000000")),
        ("370000", ("370000", "000000")),
        # A district of a municipality, by the group its code names.
        ("110105", ("110105", "110100", "110000", "000000")),
        # A county directly under its province.
        ("429004", ("429004", "429000", "420000", "000000")),
        ("810000", ("810000", "000000")),
        ("000000", ("000000",)),
    ],
)
def test_ancestry(code: str, above: tuple[str, ...]) -> None:
    """County, prefecture, province and nation follow from the code itself."""
    assert is_region(code)
    assert ancestry(code) == above


@pytest.mark.parametrize("code", ["110103", "110104", "310103", "500221", "220211"])
def test_abolished_codes_still_have_a_place(code: str) -> None:
    """A result from a district that was merged away since was taken there all the same."""
    assert code in TABLE
    assert is_region(code)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "41",
        "4101050",
        "999999",
        "410199x",
        "abcdef",
        "419999",
        "４１０１０５",
        "٤١٠١٠٥",
        "000001",
        "840000",
        "41 105",
    ],
)
def test_what_is_not_there_is_refused(code: str) -> None:
    """Wrong length, wrong characters, or no such place."""
    assert not is_region(code)


def test_within_and_same_province() -> None:
    """A region lies in itself and in everything above; never in a neighbour."""
    assert within("410105", "410105")
    assert within("410105", "410000")
    assert within("410105", NATION)
    assert not within("410000", "410105")
    assert not within("370102", "410000")
    assert not within(NATION, "410000")
    assert same_province("410105", "411002")
    assert not same_province("410105", "370102")
    assert not same_province(NATION, "410000")


def test_a_prefix_finds_a_region_and_what_lies_in_it() -> None:
    """The codes with the prefix of a region are those that lie in it, at every level."""
    for region in {NATION, "411000", "411002", *(parent(code) or NATION for code in TABLE[::40])}:
        assert [code for code in TABLE if code.startswith(prefix(region))] == [
            code for code in TABLE if within(code, region)
        ]
