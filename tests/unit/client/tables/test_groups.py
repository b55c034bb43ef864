"""Rows into groups: nothing is lost, and a possible member of a pool never becomes a tube of its own."""

from __future__ import annotations

import pytest
from hutong_client.tables.groups import group_rows
from hutong_client.tables.rows import Row, Sheet
from hypothesis import given
from hypothesis import strategies as st

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
    """Nothing is left out, doubled or moved."""
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
    """It is filled down where the size allows it."""
    assert group_of(("S1", "3"), (mark, ""), (mark, "")) == [(3, False)]
    assert group_of(("S1", ""), (mark, "")) == [(2, True)]
