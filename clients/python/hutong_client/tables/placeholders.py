"""Cells with a text that means "empty", as programs and clerks write it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from hutong_client.tables.rows import Cell, Row
from hutong_client.tables.words import load

_NULLS = frozenset(load("words.toml")["placeholders"]["nulls"])
_MARKS = frozenset(load("words.toml")["placeholders"]["marks"])
_ALL: frozenset[Cell] = _NULLS | _MARKS
_RESULT = "nat_result"
"""A dash in the column of results may mean a negative result. In that column only nulls mean "empty"."""


def drop_placeholders(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows without the cells whose text means "empty"."""
    for row in rows:
        if _ALL.isdisjoint(row.cells.values()):
            yield row
        else:
            yield replace(
                row, cells={column: cell for column, cell in row.cells.items() if not _is_empty(column, cell)}
            )


def _is_empty(column: str, cell: Cell) -> bool:
    return cell in (_NULLS if column == _RESULT else _ALL)
