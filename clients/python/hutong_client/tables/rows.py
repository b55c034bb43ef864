"""Rows of a file, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

Cell = str | int | float | bool | datetime
"""What a file says in one place: text, except in a workbook, where a cell can be a number or a time without a zone."""
NUL_FAULT = "the row holds a NUL character, which a damaged file has and no spreadsheet shows; type the row anew"


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `number` is the one that Excel (for NDJSON: any editor) shows beside it.

    Attributes:
        cells: column → cell, by the names that `columns` knows; columns that nobody knows and empty cells are left out.
        original: the row as it stands in the file, for the rejects.
        fault: why the row cannot be read at all; empty when it can.
    """

    number: int
    cells: Mapping[str, Cell]
    original: Sequence[str]
    fault: str = ""


class Table(Protocol):
    """An open file's rows."""

    @property
    def header(self) -> Sequence[str]:
        """The names of what `Row.original` holds."""

    def __iter__(self) -> Iterator[Row]:
        """The rows from the first on, empty ones left out."""


class NotATable(Exception):
    """The file cannot be read as a table. The text says what to do about it."""
