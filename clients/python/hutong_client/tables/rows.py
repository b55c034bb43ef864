"""Rows of a file, for every format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import NamedTuple, Protocol

from hutong_texts import english

Cell = str | int | float | bool | datetime | time
"""Content of a cell: text, except in a workbook, where a cell can be a number or a time without a zone."""
NUL_FAULT = english("the row has a NUL character, which means that the file is damaged; type the row again")


class Sheet(NamedTuple):
    """The sheet of a row.

    Attributes:
        position: its position among the sheets that are read, from 0.
        name: its name; empty if the file has no other sheet that is read.
        test: the test that the sheet names for those of its rows that name no test, worded as in the column
            check_project; empty if the sheet names no test.
    """

    position: int = 0
    name: str = ""
    test: str = ""


ONLY_SHEET = Sheet()
"""Stands for the sheet where a file has no sheets, or only one."""


@dataclass(slots=True)
class Row:
    """One row of a file.

    Attributes:
        number: the row's number in Excel, or the line's number for NDJSON.
        cells: cells by the names of `columns`. Unknown columns and empty cells are left out.
        original: the cells as they are in the file, for the rejects file.
        fault: why the row cannot be read; empty if it can.
        sheet: the row's sheet.
        filled: the cells that the row takes over from another row of the file; None if there are none.
    """

    number: int
    cells: Mapping[str, Cell]
    original: Sequence[str]
    fault: str = ""
    sheet: Sheet = ONLY_SHEET
    filled: Mapping[str, Cell] | None = None

    @property
    def order(self) -> tuple[int, int]:
        """The row's position in the file, for sorting."""
        return self.sheet.position, self.number

    @property
    def place(self) -> int | str:
        """The row's number, with the name of its sheet if the workbook has several."""
        return f"{self.sheet.name}!{self.number}" if self.sheet.name else self.number


class Table(Protocol):
    """The rows of an open file."""

    @property
    def header(self) -> Sequence[str]:
        """The titles of the cells in `Row.original`."""

    @property
    def named_test(self) -> str:
        """The test as in `Sheet.test`. For a workbook, the test of the first sheet that names a test."""

    @property
    def notices(self) -> Sequence[str]:
        """What a clerk must know before the rows are sent, such as hidden sheets. No notice holds an identity."""

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in the order of the file, without empty ones."""


class NotATable(Exception):
    """The file cannot be read as a table. The text says what the clerk can do."""
