"""Rows of a file, for every format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

Cell = str | int | float | bool | datetime
"""Content of a cell: text, except in a workbook, where a cell can be a number or a time without a zone."""
NUL_FAULT = "the row has a NUL character, which means that the file is damaged; type the row again"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file.

    Attributes:
        number: the row's number in Excel, or the line's number for NDJSON.
        cells: cells by the names of `columns`. Unknown columns and empty cells are left out.
        original: the cells as they are in the file, for the rejects file.
        fault: why the row cannot be read; empty if it can.
    """

    number: int
    cells: Mapping[str, Cell]
    original: Sequence[str]
    fault: str = ""


class Table(Protocol):
    """The rows of an open file."""

    @property
    def header(self) -> Sequence[str]:
        """The titles of the cells in `Row.original`."""

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in the order of the file, without empty ones."""


class NotATable(Exception):
    """The file cannot be read as a table. The text says what to do about it."""
