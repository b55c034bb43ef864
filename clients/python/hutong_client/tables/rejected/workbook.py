"""Write rejected rows as a workbook: faulty cells are coloured, and the reasons stand beside each row."""

from __future__ import annotations

import csv
import errno
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font, NamedStyle, PatternFill
from openpyxl.utils import get_column_letter

from hutong_client.private_files import open_privately
from hutong_client.tables.columns.header import TIME_OF_DAY, name_columns
from hutong_client.tables.columns.vocabulary import RESULTS
from hutong_client.tables.rejected.layouts import COLUMNS, unprotect

MOST_ROWS = 1_000_000
"""Rows of a sheet below the header. Excel reads 1,048,576 rows; further rows go to another sheet."""
_TEXT = "@"
"""The format of text. A number that is typed into such a cell keeps its zeros and digits."""
_STYLES = {"title": ("D9D9D9", True), "reason": ("FFF2CC", False), "own": ("", False), "faulty": ("F8CBAD", True)}
"""Colour of the background, and whether the text is bold."""
_WIDTHS = {"row": 8, "descriptions": 60}
_WIDTH = 20


def write_workbook(source: Path, target: Path, most_rows: int = MOST_ROWS) -> None:
    """Write the rows of a CSV of rejected rows to a new workbook that only its owner can read.

    All cells are text, so that spreadsheet programs keep numbers and times as they are.

    Args:
        source: the CSV.
        target: the path of the workbook.
        most_rows: the rows of one sheet.

    Raises:
        FileExistsError: the target exists.
    """
    draft = target.with_name(target.name + ".new")
    draft.unlink(missing_ok=True)
    with source.open(encoding="utf-8-sig", newline="") as file, open(draft, "xb", opener=open_privately) as content:
        rows = csv.reader(file)
        titles = next(rows)
        book = Workbook(write_only=True)
        styles = _Styles(book, titles)
        for first in rows:
            _write_sheet(book, styles, titles, chain((first,), islice(rows, most_rows - 1)))
        book.save(content)
    if target.exists():
        raise FileExistsError(errno.EEXIST, "the file exists already", str(target))
    draft.replace(target)


def _write_sheet(book: Workbook, styles: _Styles, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    sheet: Any = book.create_sheet("rejects" if not book.worksheets else f"rejects {len(book.worksheets) + 1}")
    sheet.freeze_panes = "A2"
    for at, title in enumerate(titles, start=1):
        sheet.column_dimensions[get_column_letter(at)].width = _WIDTHS.get(title, _WIDTH)
    sheet.append(styles.head(sheet))
    for row in rows:
        sheet.append(styles.row(sheet, row))


class _Styles:
    """The styles of the cells. Named styles are set ten times as fast as fonts and fills of single cells."""

    def __init__(self, book: Workbook, titles: Sequence[str]) -> None:
        self._titles = titles
        self._positions: dict[str, list[int]] = {}
        for position, column in name_columns(titles, RESULTS).items():
            self._positions.setdefault(column.removesuffix(TIME_OF_DAY), []).append(position)
        for name, (colour, bold) in _STYLES.items():
            fill = PatternFill("solid", fgColor=colour) if colour else PatternFill()
            book.add_named_style(NamedStyle(name, Font(bold=bold), fill, number_format=_TEXT))

    def head(self, sheet: Any) -> list[Any]:
        """Return the cells of the header."""
        return [text_cell(sheet, title, "title") for title in self._titles]

    def row(self, sheet: Any, cells: Sequence[str]) -> list[Any]:
        """Return the cells of a row. The cells of its `fields` are coloured."""
        fields = cells[COLUMNS.index("fields")].split("; ")
        faulty = {position for column in fields for position in self._positions.get(column, ())}
        styles = ("reason" if at < len(COLUMNS) else "faulty" if at in faulty else "own" for at in range(len(cells)))
        return [text_cell(sheet, unprotect(text), style) for text, style in zip(cells, styles, strict=True)]


def text_cell(sheet: Any, text: str, style: str) -> Any:
    """Return a cell that holds text, whatever the text looks like, in a named style of the workbook."""
    cell: Any = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("\ufffd", text))
    cell.style = style
    # Without this type, "=1+2" would be a formula and "#REF!" an error value.
    cell.data_type = "s"
    return cell
