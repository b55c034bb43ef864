"""Rows of a CSV file as Excel and laboratory systems write it."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hutong_client.tables.columns import find_column, read_header
from hutong_client.tables.encoding import detect_encoding
from hutong_client.tables.rows import NotATable, Row

_DELIMITERS = ",\t;，"
_MAX_CELL_CHARACTERS = 1 << 20
"""An opening quote that is never closed swallows the rest of the file; beyond this it is called a fault."""


@contextlib.contextmanager
def open_csv(path: Path) -> Iterator[CsvTable]:
    """Open a CSV file; NotATable when its first row is no header."""
    csv.field_size_limit(_MAX_CELL_CHARACTERS)
    with path.open(encoding=detect_encoding(path), newline="") as file:
        delimiter = _find_delimiter(file)
        file.seek(0)
        records = csv.reader(file, delimiter=delimiter, strict=True)
        number, titles = 0, [""]
        try:
            while not any(title.strip() for title in titles):
                number, titles = number + 1, next(records)
        except csv.Error as error:
            raise NotATable(f"the first row cannot be read as CSV: {error}") from None
        yield CsvTable(titles, read_header(titles), records, number)


@dataclass(frozen=True, slots=True)
class CsvTable:
    """An open CSV file. A row is one record: a quoted line break inside a cell begins no new row, as in Excel."""

    header: Sequence[str]
    columns: dict[int, str]
    records: Iterator[list[str]]
    header_number: int

    def __iter__(self) -> Iterator[Row]:
        """The rows after the header."""
        number = self.header_number
        while True:
            number += 1
            try:
                cells = next(self.records)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(number, {}, (), f"the row cannot be read as CSV ({error}); look for a stray quotation mark")
                continue
            if any(cell.strip() for cell in cells):
                yield self._row(number, cells)

    def _row(self, number: int, cells: list[str]) -> Row:
        known = {column: cells[at].strip() for at, column in self.columns.items() if at < len(cells)}
        fault = ""
        if len(cells) > len(self.header) and any(cell.strip() for cell in cells[len(self.header) :]):
            fault = (
                f"the row has {len(cells)} cells and the header {len(self.header)}; a comma inside a cell needs "
                "quotation marks around the cell"
            )
        return Row(number, {column: cell for column, cell in known.items() if cell}, cells, fault)


def _find_delimiter(file: TextIO) -> str:
    """The delimiter under which the header holds most known columns."""
    line = ""
    while not line.strip():
        line = file.readline(_MAX_CELL_CHARACTERS)
        if not line:
            raise NotATable("the file is empty")

    def known_columns(delimiter: str) -> int:
        return sum(find_column(title.strip('"')) is not None for title in line.split(delimiter))

    return max(_DELIMITERS, key=known_columns)
