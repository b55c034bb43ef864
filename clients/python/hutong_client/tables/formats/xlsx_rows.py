"""Read rows of the first sheet of an Excel workbook."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

from openpyxl import Workbook, load_workbook

from hutong_client.tables.columns import Vocabulary, find_header
from hutong_client.tables.rows import Cell, NotATable, Row


@contextlib.contextmanager
def open_xlsx(path: Path, vocabulary: Vocabulary) -> Iterator[XlsxTable]:
    """Open a workbook; raise NotATable if it is damaged or none of its first sheet's first rows is a header."""
    with path.open("rb") as file, contextlib.closing(_load(file)) as workbook:
        if not workbook.worksheets:
            raise NotATable("the workbook has no sheet of cells")
        sheet = workbook.worksheets[0]
        number, titles, columns = find_header(_first_texts(sheet), vocabulary)
        yield XlsxTable(titles, columns, itertools.islice(_read_rows(sheet), number, None))


def _first_texts(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield the sheet's rows as texts for the search of the header.

    Damage after the first row ends the search here and is reported when the rows are read.
    """
    number = 0
    try:
        for number, values in _read_rows(sheet):
            yield number, [_as_text(value) for value in values]
    except NotATable:
        if not number:
            raise


def _load(file: BinaryIO) -> Workbook:
    try:
        with ZipFile(file) as archive:
            is_workbook = "xl/workbook.xml" in archive.namelist()
        file.seek(0)
        # Given as an open file, because openpyxl rejects paths by their extension.
        workbook = load_workbook(file, read_only=True, data_only=True) if is_workbook else None
    except Exception as error:  # openpyxl and zipfile raise errors of any type for damaged files
        raise NotATable("the file looks like an Excel workbook but cannot be opened; save it again in Excel") from error
    if workbook is None:
        raise NotATable("the file is an archive and not an Excel workbook; unpack it and give the table inside")
    return workbook


def _read_rows(sheet: Any) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield the sheet's rows with their numbers; raise NotATable at damage."""
    number = 0
    try:
        # Some programs write a wrong sheet size, and openpyxl would read only that part.
        sheet.reset_dimensions()
        for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
            yield number, values
    except Exception as error:  # openpyxl raises errors of any type; the caller's errors do not pass a yield
        where = f"after row {number}" if number else "in its first row"
        raise NotATable(
            f"the workbook is damaged {where}; open it in Excel, which may repair it, check that all rows are there, "
            "and save it again"
        ) from error


@dataclass(frozen=True, slots=True)
class XlsxTable:
    """The first sheet of an open workbook."""

    header: Sequence[str]
    columns: dict[int, str]
    rows: Iterator[tuple[int, tuple[Any, ...]]]

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows after the header."""
        for number, values in self.rows:
            original = [_as_text(value) for value in values]
            if not any(original):
                continue
            cells: dict[str, Cell] = {
                column: _as_cell(values[at]) for at, column in self.columns.items() if at < len(values) and original[at]
            }
            yield Row(number, cells, original)


def _as_cell(value: Any) -> Cell:
    if isinstance(value, bool | int | float | dt.datetime):
        return value
    return _as_text(value)


def _as_text(value: Any) -> str:
    """Return a cell as a clerk sees it in Excel."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
