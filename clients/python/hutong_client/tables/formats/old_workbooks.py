"""Read workbooks of Excel 97-2003 (.xls), binary workbooks (.xlsb) and LibreOffice workbooks (.ods) with calamine.

calamine holds a whole sheet in memory. A sheet of .xls has at most 65,536 rows, and a sheet of the other formats has at
most 1,048,576. calamine returns error values as empty cells and numbers without leading zeros, so what the workbook
shows is put back from the marks of the sheet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hutong_texts import tr
from python_calamine import CalamineSheet, PasswordError, SheetTypeEnum, SheetVisibleEnum, load_workbook

from hutong_client.tables.columns.vocabulary import Vocabulary
from hutong_client.tables.formats.marks import Marks
from hutong_client.tables.formats.old_marks import read_marks
from hutong_client.tables.formats.sheets import WorkbookTable, read_workbook
from hutong_client.tables.rows import NotATable


@contextlib.contextmanager
def open_old_workbook(path: Path, vocabulary: Vocabulary) -> Iterator[WorkbookTable]:
    """Open a workbook; raise NotATable if it is damaged or its sheets cannot be read as one table."""
    try:
        marks = read_marks(path)
        workbook = load_workbook(str(path))
        # Without marks the workbook has a password, and calamine has raised an error.
        sheets = [
            OldSheet(workbook.get_sheet_by_name(data.name), data.visible != SheetVisibleEnum.Visible, own)
            for data, own in zip(workbook.sheets_metadata, marks or (), strict=True)
            if data.typ == SheetTypeEnum.WorkSheet
        ]
    except (NotATable, KeyboardInterrupt, SystemExit):
        raise
    except PasswordError:
        raise NotATable(tr("the workbook has a password; save it without one")) from None
    except BaseException as error:
        # For damaged files calamine raises errors of several types. A panic of its Rust code is no Exception.
        raise NotATable(
            tr(
                "the file looks like a workbook of Excel 97-2003, .xlsb or .ods but cannot be "
                "opened; save it as .xlsx, and without a password if it has one"
            )
        ) from error
    with contextlib.closing(workbook):
        yield read_workbook([*sheets], vocabulary, path.name)


@dataclass(frozen=True, slots=True)
class OldSheet:
    """A sheet of an open workbook."""

    sheet: CalamineSheet
    hidden: bool
    own_marks: Marks

    @property
    def name(self) -> str:
        """Return the sheet's name."""
        return self.sheet.name

    def rows(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield the rows with their numbers."""
        # calamine yields empty rows from row 1 on, but leaves out the empty columns before the first filled one.
        margin = [""] * self._margin
        shown = self.own_marks.texts
        number = 0
        for number, values in enumerate(self.sheet.iter_rows(), start=1):
            cells = margin + values
            yield number, _put_in(cells, shown[number]) if number in shown else cells
        for below in sorted(row for row in shown if row > number):
            yield below, _put_in([], shown[below])

    @property
    def _margin(self) -> int:
        return self.sheet.start[1] if self.sheet.start else 0

    def marks(self) -> Marks:
        """Return the sheet's merged cells and hidden rows, and whether it has formulas without values."""
        if not self.own_marks.merged:
            for (top, left), (bottom, right) in self.sheet.merged_cell_ranges or ():
                if left == right and top != bottom:
                    self.own_marks.note_merged(left, top + 1, bottom + 1)
        return self.own_marks


def _put_in(cells: list[Any], shown: Mapping[int, str]) -> list[Any]:
    """Return the cells of a row with the texts that the workbook shows."""
    filled = cells + [""] * (max(shown) + 1 - len(cells))
    for at, text in shown.items():
        filled[at] = text
    return filled
