"""Tests that a file names outside the cells of its tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.named_tests import find_named_test, name_tests
from hutong_client.tables.open import open_table
from hutong_client.tables.tubes import BadRow, Reading, ReadTube, read_tubes

from tests.support.client.laboratory_formats import TITLES, csv, person

ACID, ANTIGEN = "items/sars-cov-2-nucleic-acid", "items/sars-cov-2-antigen"


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("新冠病毒抗原检测", {ANTIGEN}),
        ("核酸检测结果", {ACID}),
        ("新冠病毒检测", set()),
        ("Antigen results", {ANTIGEN}),
        ("shivam.csv", set()),
        ("HIV 初筛", {"other"}),
        ("乙肝表面抗原", {"items/hepatitis-b"}),
        ("示例结核病防治所", set()),
    ],
)
def test_items_of_a_text(text: str, items: set[str]) -> None:
    """Words in letters count only at their beginning. The name of an institution is no test."""
    assert name_tests(text).keys() == items


@pytest.mark.parametrize(
    ("title", "others", "named"),
    [
        ("检测结果", [], ""),
        ("检测结果", ["抗原", "day.csv"], ANTIGEN),
        ("检测结果", ["核酸", "核酸抗原.xlsx"], ACID),
        ("检测结果", ["核酸", "抗原检测结果"], "核酸 抗原"),
        ("核酸检测结果", ["抗原"], ACID),
        ("抗原检测结果", ["核酸"], ANTIGEN),
    ],
)
def test_the_most_telling_text_counts(title: str, others: list[str], named: str) -> None:
    """The title of the results outweighs the others. Texts that contradict each other name no item."""
    assert find_named_test(title, others) == named


def test_the_name_of_the_file_counts(tmp_path: Path) -> None:
    """If only the name of the file names a test, it is the test of all rows that name none."""
    path = csv([TITLES, person(1)])(tmp_path).rename(tmp_path / "抗原检测0809.csv")
    for items, kind in ((frozenset[str](), BadRow), (frozenset({ANTIGEN}), ReadTube)):
        with open_table(path) as table:
            (item,) = read_tubes(table, Reading(SHANGHAI, "220502", items))
        assert isinstance(item, kind)
        if isinstance(item, ReadTube):
            assert item.tube.item == ANTIGEN
        else:
            assert item.filled["check_project"] == ANTIGEN


def test_a_row_that_names_its_test_keeps_it_in_the_rejects(tmp_path: Path) -> None:
    """The name of the file does not replace its own cell."""
    path = csv([[*TITLES, "检测项目"], [*person(1), "新冠抗原检测"]])(tmp_path).rename(
        tmp_path / "antigen and nucleic.csv"
    )
    with open_table(path) as table:
        (item,) = read_tubes(table, Reading(SHANGHAI, "220502"))
    assert isinstance(item, BadRow)
    assert "check_project" not in item.filled
