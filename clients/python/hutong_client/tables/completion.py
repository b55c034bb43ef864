"""The cells that a rejected row lacks if it is sent without the other rows of its file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hutong_client.tables.faults import Fault
from hutong_client.tables.pools.sizes import POOLED, read_size
from hutong_client.tables.rows import Cell, Row
from hutong_client.tables.tested import carry_test

_OF_POOL = frozenset({"tube_code", "pool_size"})


def complete_cells(row: Row, shared: Mapping[str, Cell], size: int, faults: Iterable[Fault] = ()) -> Mapping[str, Cell]:
    """Return the cells to add to a row that is sent alone, so that it still belongs to its tube.

    Args:
        row: the row.
        shared: cells that describe the tube and that only some of its rows fill.
        size: the size of the tube. The size is not filled in if the size or the tube code is at fault, because the row
            may belong to another tube.
        faults: the faults of the row.
    """
    filled = {column: cell for column, cell in shared.items() if column not in row.cells} | dict(row.filled or {})
    if any(fault.column in _OF_POOL for fault in faults):
        filled.pop("pool_size", None)
    elif not _states_size(row):
        filled["pool_size"] = size
    if test := carry_test({**row.cells, **filled}, row.sheet.test):
        filled["check_project"] = test
    return filled


def _states_size(row: Row) -> bool:
    """Check whether the row's own cell for the pool size has a size, or an error that a clerk has to correct."""
    cell = row.cells.get("pool_size")
    return cell is not None and read_size(cell) != POOLED
