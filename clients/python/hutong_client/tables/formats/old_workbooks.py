"""Read workbooks of Excel 97-2003 (.xls), binary ones (.xlsb) and those of LibreOffice (.ods) with calamine.

calamine holds a whole sheet in memory. A sheet of .xls has at most 65,536 rows, one of the other formats 1,048,576.
calamine returns error values as empty cells, so `old_marks` searches the file for them where the format allows it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hutong_texts import tr
from python_calamine import CalamineSheet, PasswordError, SheetTypeEnum, SheetVisibleEnum, load_workbook

from hutong_client.tables.columns.vocabulary import Vocabulary
from hutong_client.tables.formats.old_marks import read_marks
from hutong_client.tables.formats.sheets import Marks, WorkbookTable, read_workbook
from hutong_client.tables.rows import NotATable


@contextlib.contextmanager
def open_old_workbook(path: Path, vocabulary: Vocabulary) -> Iterator[WorkbookTable]:
    """Open a workbook; raise NotATable if it is damaged or its sheets cannot be read as one table."""
    try:
        workbook = load_workbook(str(path))
        metadata = [data for data in workbook.sheets_metadata if data.typ == SheetTypeEnum.WorkSheet]
        marks = read_marks(path, [data.name for data in metadata])
        sheets = [
            OldSheet(workbook.get_sheet_by_name(data.name), data.visible != SheetVisibleEnum.Visible, own)
            for data, own in zip(metadata, marks, strict=True)
        ]
    except PasswordError:
        raise NotATable(tr("the workbook has a password; save it without one")) from None
    except Exception as error:  # calamine raises errors of several types for damaged files
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
    is_hidden: bool
    own_marks: Marks

    @property
    def name(self) -> str:
        """Return the sheet's name."""
        return self.sheet.name

    @property
    def hidden(self) -> bool:
        """Return whether the sheet is hidden."""
        return self.is_hidden

    def rows(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield the rows with their numbers."""
        # calamine yields empty rows from row 1 on, but leaves out the empty columns before the first filled one.
        margin = [""] * self._margin
        for number, values in enumerate(self.sheet.iter_rows(), start=1):
            yield number, margin + values

    @property
    def _margin(self) -> int:
        return self.sheet.start[1] if self.sheet.start else 0

    def marks(self) -> Marks:
        """Return the sheet's merged cells, hidden rows and whether it has error values."""
        for (top, left), (bottom, right) in self.sheet.merged_cell_ranges or ():
            if left == right and top != bottom:
                self.own_marks.merged.setdefault(left, []).append((top + 1, bottom + 1))
        return self.own_marks
