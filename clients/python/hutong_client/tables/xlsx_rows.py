"""Rows of the first sheet of an Excel workbook."""

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
    """Open a workbook; NotATable when it is damaged or none of the first rows of its first sheet is a header."""
    with path.open("rb") as file, contextlib.closing(_load(file)) as workbook:
        if not workbook.worksheets:
            raise NotATable("the workbook has no sheet of cells")
        sheet = workbook.worksheets[0]
        number, titles, columns = find_header(_first_texts(sheet), vocabulary)
        yield XlsxTable(titles, columns, itertools.islice(_read_rows(sheet), number, None))


def _first_texts(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """The sheet's rows as texts, to look for the header among them; damage below the first is told where it is read."""
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
        # Given as an open file, because a path is judged by its name.
        workbook = load_workbook(file, read_only=True, data_only=True) if is_workbook else None
    except Exception as error:  # of damage openpyxl and zipfile raise whatever they stumble over
        raise NotATable("the file looks like an Excel workbook and cannot be opened as one; save it again") from error
    if workbook is None:
        raise NotATable("the file is an archive and no Excel workbook; unpack it and give the table that is in it")
    return workbook


def _read_rows(sheet: Any) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """The sheet's rows with their numbers; NotATable where it is damaged."""
    number = 0
    try:
        # Some writers state a wrong size of the sheet, and only the stated part would be read.
        sheet.reset_dimensions()
        for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
            yield number, values
    except Exception as error:  # whatever openpyxl stumbles over; nothing of the caller's comes up at a yield
        where = f"after row {number}" if number else "in its first row"
        raise NotATable(
            f"the workbook is damaged {where}; open it in Excel, which may repair it, see whether all rows are there, "
            "and save it again"
        ) from error


@dataclass(frozen=True, slots=True)
class XlsxTable:
    """An open workbook's first sheet."""

    header: Sequence[str]
    columns: dict[int, str]
    rows: Iterator[tuple[int, tuple[Any, ...]]]

    def __iter__(self) -> Iterator[Row]:
        """The rows after the header."""
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
    """A cell as a clerk would read it."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
