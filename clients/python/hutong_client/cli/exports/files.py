"""Write tables to CSV files and workbooks that spreadsheet programs show as they are."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font, NamedStyle
from openpyxl.utils import get_column_letter

from hutong_client.cli.exports.sheet import Sheet, Value
from hutong_client.private_files import replace_privately
from hutong_client.tables.rejected.layouts import protect
from hutong_client.tables.rejected.workbook import MOST_ROWS, text_cell

_FORMATS: Mapping[type, str] = {datetime: "yyyy-mm-dd hh:mm:ss", timedelta: "[h]:mm:ss"}
"""The number formats of times and durations. A duration may have more than 24 hours."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_WIDEST = 60
"""The widest column of a workbook, in characters."""


def write_csv(path: Path, sheet: Sheet) -> None:
    """Write a table as CSV in UTF-8 with a byte-order mark, which Excel needs. The file replaces an earlier one.

    Texts that a spreadsheet program would round, reformat or compute are written so that it shows them as text.

    Raises:
        OSError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([column.title for column in sheet.columns])
    writer.writerows([_csv_cell(value) for value in row] for row in sheet.rows)
    with replace_privately(path) as file:
        file.buffer.write(text.getvalue().encode("utf-8-sig", "replace"))


def _csv_cell(value: Value) -> str:
    if isinstance(value, str):
        return protect(_one_line(value))
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return "" if value is None else str(value)


def _one_line(text: str) -> str:
    """Replace control characters by spaces. At the beginning of a cell they would hide a formula."""
    return _CONTROL.sub(" ", text).strip()


def write_xlsx(path: Path, sheets: Sequence[Sheet], most_rows: int = MOST_ROWS) -> None:
    """Write tables as a workbook. The file replaces an earlier one. Texts are never formulas.

    Args:
        path: the path of the workbook.
        sheets: the tables, each on a sheet of its own.
        most_rows: the most rows of one sheet. Further rows go to another sheet.

    Raises:
        OSError: the file cannot be written.
    """
    book = Workbook(write_only=True)
    book.add_named_style(NamedStyle("title", Font(bold=True)))
    book.add_named_style(NamedStyle("text", number_format="@"))
    formats = {column.number_format for sheet in sheets for column in sheet.columns} | {*_FORMATS.values()}
    for number_format in sorted(formats - {""}):
        book.add_named_style(NamedStyle(number_format, number_format=number_format))
    for sheet in sheets:
        for first in range(0, max(len(sheet.rows), 1), most_rows):
            title = sheet.title if not first else f"{sheet.title} {first // most_rows + 1}"
            _write_sheet(book, title, sheet, sheet.rows[first : first + most_rows])
    with replace_privately(path) as file:
        book.save(file.buffer)


def _write_sheet(book: Workbook, title: str, sheet: Sheet, rows: Sequence[Sequence[Value]]) -> None:
    page: Any = book.create_sheet(title)
    page.freeze_panes = "A2"
    for at, column in enumerate(sheet.columns):
        longest = max((len(str(row[at])) for row in rows if row[at] is not None), default=0)
        # A Chinese character is as wide as two digits.
        width = max(longest, 2 * len(column.title)) + 2
        page.column_dimensions[get_column_letter(at + 1)].width = min(width, _WIDEST)
    page.append([text_cell(page, column.title, "title") for column in sheet.columns])
    formats = [column.number_format for column in sheet.columns]
    for row in rows:
        page.append([_xlsx_cell(page, value, style) for value, style in zip(row, formats, strict=True)])


def _xlsx_cell(page: Any, value: Value, number_format: str) -> Any:
    if isinstance(value, str):
        return text_cell(page, _one_line(value), "text")
    style = _FORMATS.get(type(value), number_format)
    if value is None or not style:
        return value
    cell: Any = WriteOnlyCell(page)
    cell.value = value
    cell.style = style
    return cell
