"""Rows into groups: nothing is lost, and a possible member of a pool never becomes a tube of its own."""

from __future__ import annotations

import json

import pytest
from hutong_client.tables.formats.ndjson_rows import read_record
from hutong_client.tables.pools.groups import group_rows
from hutong_client.tables.rows import Row, Sheet
from hypothesis import given
from hypothesis import strategies as st

from tests.support.client.laboratory_oddities import LIKE_FOOTERS

CODES = st.sampled_from(["", "", "", "S1", "S2", "同上"])
SIZES = st.sampled_from(["", "", "1", "3", "10混1", "混采", "many"])
ROWS = st.lists(st.tuples(CODES, SIZES, st.integers(0, 9)), max_size=60)


def as_rows(cells: list[tuple[str, str, int]]) -> list[Row]:
    """Return rows; one of ten cannot be read, and the second half is on another sheet."""
    rows = []
    first, second = Sheet(0), Sheet(1)
    for number, (code, size, fate) in enumerate(cells):
        own = {"tube_code": code, "pool_size": size, "card_no": "1", "report_no": f"R{number}"}
        sheet = second if number > len(cells) // 2 else first
        kept = {column: cell for column, cell in own.items() if cell}
        rows.append(Row(number, {}, (), "unreadable", sheet) if fate == 0 else Row(number, kept, (), "", sheet))
    return rows


@given(ROWS)
def test_every_row_is_in_one_group_in_its_order(cells: list[tuple[str, str, int]]) -> None:
    """No row is left out, doubled or moved."""
    groups = list(group_rows(as_rows(cells)))
    assert [row.number for group in groups for row in group.rows] == list(range(len(cells)))


@given(ROWS)
def test_a_row_in_doubt_is_never_a_tube_of_its_own(cells: list[tuple[str, str, int]]) -> None:
    """After the first code, a row without code and size is filled down or rejected."""
    has_code = False
    for group in group_rows(as_rows(cells)):
        for row in group.rows:
            code, size, fate = cells[row.number]
            if has_code and not row.fault and not code and size != "1":
                assert group.fault or row.cells["tube_code"] in {"S1", "S2"}
            has_code = has_code or (code in {"S1", "S2"} and fate != 0)


@given(ROWS)
def test_a_filled_tube_is_not_larger_than_it_says(cells: list[tuple[str, str, int]]) -> None:
    """Rows that were filled down are at most as many as the pool has members."""
    for group in group_rows(as_rows(cells)):
        filled = [row for row in group.rows if not row.fault and cells[row.number][0] not in {"S1", "S2"}]
        if not group.fault and filled and "tube_code" in filled[0].cells:
            assert len(group.rows) <= int(str(group.rows[0].cells["pool_size"]).removesuffix("混1"))


def group_of(*cells: tuple[str, str]) -> list[tuple[int, bool]]:
    """Return for each group its number of rows, and whether it is rejected. The cells are codes and sizes."""
    sheet = Sheet(0)
    rows = [
        Row(number, {"tube_code": code, "pool_size": size, "card_no": "1", "report_no": f"R{number}"}, (), "", sheet)
        for number, (code, size) in enumerate(cells)
    ]
    kept = [Row(row.number, {name: cell for name, cell in row.cells.items() if cell}, (), "", sheet) for row in rows]
    return [(len(group.rows), group.fault is not None) for group in group_rows(kept)]


@pytest.mark.parametrize("size", ["10", "10混1", "混采"])
@pytest.mark.parametrize("none", ["", "-", "—", "无", "NULL", "/"])
def test_a_pool_size_that_stands_once_without_a_code_rejects_its_rows(size: str, none: str) -> None:
    """The rows below may be its members. Taken by themselves they would be positive persons of single tubes."""
    assert group_of((none, size), (none, ""), (none, "")) == [(3, True)]
    assert group_of((none, size), (none, size)) == [(1, False), (1, False)]
    assert group_of((none, ""), (none, "")) == [(1, False), (1, False)]


@pytest.mark.parametrize("mark", ["-", "—", "/", "无", "同左", "↑", "同上行", "..", "^", "NULL"])
def test_a_mark_below_a_code_is_no_code_of_its_own(mark: str) -> None:
    """The code above the mark is filled down where the size allows it."""
    assert group_of(("S1", "3"), (mark, ""), (mark, "")) == [(3, False)]
    assert group_of(("S1", ""), (mark, "")) == [(2, True)]


@pytest.mark.parametrize("size", ["10", "10混1", "混采"])
def test_codes_of_persons_below_a_size_that_stands_once_are_in_doubt(size: str) -> None:
    """Each person has a specimen code, and the pool's size stands once. Single tubes would make positive persons."""
    assert group_of(("Y1", size), ("Y2", ""), ("Y3", "")) == [(3, True)]
    assert group_of(("Y1", size), ("Y2", "1"), ("Y3", "")) == [(1, False)] * 3
    assert group_of(("Y1", "2"), ("Y2", ""), ("Y3", "")) == [(2, True), (1, False)]
    assert group_of(("S1", size), ("S1", ""), ("S2", "")) == [(2, False), (1, False)]


def test_a_row_that_cannot_be_read_does_not_end_the_doubt() -> None:
    rows = [row_of("Y1", "10", 1), Row(2, {}, ("本页", "---"), "unreadable"), row_of("Y3", "", 3)]
    assert [(len(group.rows), group.fault is not None) for group in group_rows(rows)] == [(3, True)]


@pytest.mark.parametrize("line", ["-----", "小计", "本页以下空白"])
def test_a_footer_between_rows_does_not_end_the_doubt(line: str) -> None:
    """Some programs print a line below each row, and a pool's code may stand below or above its other members."""
    footer = Row(0, {"name": line}, (line,))
    below = [row_of("", "", 1), footer, row_of("", "", 2), footer, row_of("S1", "10", 3)]
    above = [row_of("Y1", "3", 1), footer, row_of("Y2", "", 2), footer, row_of("Y3", "", 3), row_of("Y4", "", 4)]
    assert [(len(group.rows), bool(group.fault)) for group in group_rows(below)] == [(4, True), (1, False)]
    assert [(len(group.rows), bool(group.fault)) for group in group_rows(above)] == [(5, True), (1, False)]


@pytest.mark.parametrize("like", LIKE_FOOTERS)
def test_a_person_without_numbers_is_told_as_a_person(like: str) -> None:
    """The row lacks the numbers of the document and of the report, and its name or remark begins like a footer."""
    cells = {"name": like, "sample_date": "2022-08-09 06:00:00", "nat_result": "阴性"}
    record = json.dumps({"审核时间": "2022-08-09 12:00:00", "name": like})
    rows = [Row(2, cells, ["", *cells.values(), "---"]), Row(3, {**cells, "card_no": "无"}, [*cells.values(), "无"])]
    assert [row.fault for group in group_rows([*rows, read_record(4, record)]) for row in group.rows] == [""] * 3


def row_of(code: str, size: str, number: int) -> Row:
    """Return a person's row."""
    cells = {"tube_code": code, "pool_size": size, "card_no": f"1{number}", "report_no": f"R{number}"}
    return Row(number, {name: cell for name, cell in cells.items() if cell}, ())


def test_a_size_may_repeat_the_one_above() -> None:
    """A size may repeat with and without codes, but not above a row that has a code and no size."""
    assert group_of(("", "1"), ("", "同上"), ("", "〃")) == [(1, False)] * 3
    assert group_of(("", "10"), ("", "同上")) == [(1, False)] * 2
    assert group_of(("Y1", "10"), ("Y2", "同上")) == [(1, False)] * 2
    assert group_of(("Y1", ""), ("Y2", "同上")) == [(1, False)] * 2
    (first, second) = group_rows(
        [
            Row(1, {"tube_code": "Y1", "pool_size": "10", "card_no": "1"}, ()),
            Row(2, {"tube_code": "Y2", "pool_size": "同上", "card_no": "2"}, ()),
        ]
    )
    assert [group.rows[0].cells["pool_size"] for group in (first, second)] == ["10", "10"]
    assert second.rows[0].filled == {"pool_size": "10"}


@pytest.mark.parametrize("count", ["4", "4人", "4.0", "12份"])
@pytest.mark.parametrize("word", ["合计", "小计：", "Total"])
def test_a_total_is_no_person(word: str, count: str) -> None:
    """The count of a total may stand below any title, for example below that of the card's number."""
    pool = [Row(n, {"card_no": f"41010518600101{n:04}", "report_no": f"R{n}", "tube_code": "S1"}, ()) for n in (1, 2)]
    for column in ("card_no", "report_no", "nat_result"):
        groups = list(group_rows([*pool, Row(3, {"name": word, column: count}, (word, count))]))
        assert [len(group.rows) for group in groups] == [2, 1]
        assert "footer" in groups[1].rows[0].fault
