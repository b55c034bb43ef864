"""Rows of the first sheet of an Excel workbook."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from hutong_client.tables.columns import Vocabulary, read_header
from hutong_client.tables.rows import Cell, NotATable, Row


@contextlib.contextmanager
def open_xlsx(path: Path, vocabulary: Vocabulary) -> Iterator[XlsxTable]:
    """Open a workbook; NotATable when it is damaged or its first sheet has no header."""
    file = path.open("rb")
    try:
        with ZipFile(file) as archive:
            is_workbook = "xl/workbook.xml" in archive.namelist()
        if not is_workbook:
            file.close()
            raise NotATable("the file is an archive and no Excel workbook; unpack it and give the table that is in it")
        file.seek(0)
        # Given as an open file, because a path is judged by its name.
        workbook = load_workbook(file, read_only=True, data_only=True)
    except (BadZipFile, InvalidFileException, KeyError, ValueError, OSError) as error:
        file.close()
        raise NotATable("the file looks like an Excel workbook and cannot be opened as one; save it again") from error
    with contextlib.closing(file), contextlib.closing(workbook):
        if not workbook.worksheets:
            raise NotATable("the workbook has no sheet of cells")
        sheet = workbook.worksheets[0]
        # Some writers state a wrong size of the sheet, and only the stated part would be read.
        sheet.reset_dimensions()
        rows = sheet.iter_rows(values_only=True)
        for number, values in enumerate(rows, start=1):
            titles = [_as_text(value) for value in values]
            if any(titles):
                yield XlsxTable(titles, read_header(titles, vocabulary), rows, number)
                return
    raise NotATable("the first sheet of the workbook is empty")


@dataclass(frozen=True, slots=True)
class XlsxTable:
    """An open workbook's first sheet."""

    header: Sequence[str]
    columns: dict[int, str]
    values: Iterator[tuple[Any, ...]]
    header_number: int

    def __iter__(self) -> Iterator[Row]:
        """The rows after the header."""
        for number, values in enumerate(self.values, start=self.header_number + 1):
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
