"""Read the sheets of an Excel workbook (.xlsx) row by row, so that memory does not grow with the workbook."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

from hutong_texts import tr
from openpyxl import Workbook, load_workbook
from openpyxl.packaging.relationship import get_dependents
from openpyxl.packaging.workbook import WorkbookPackage
from openpyxl.utils import column_index_from_string
from openpyxl.xml.functions import fromstring

from hutong_client.tables.columns.vocabulary import Vocabulary
from hutong_client.tables.formats.marks import Marks
from hutong_client.tables.formats.sheets import WorkbookTable, read_workbook
from hutong_client.tables.formats.xlsx_cells import has_telling_formats, read_as_shown
from hutong_client.tables.rows import NotATable

_CHUNK = 1 << 20
_HIDDEN_ROW = re.compile(rb'<(?:\w+:)?row (?:[^>]* )?hidden="(?:1|true)"[^>]*>')
_ROW_NUMBER = re.compile(rb' r="(\d+)"')
_MERGED = re.compile(rb'mergeCell [^>]*ref="([A-Z]{1,3})(\d+):([A-Z]{1,3})(\d+)"')
_CELL_WITH_FORMULA = (
    r'<{0}c(?:\s(?![^>]*\bt="str")[^>]*)?>\s*<{0}f(?:\s[^>]*)?(?:/>|>[^<]*</{0}f>)'
    r"\s*(?:<{0}v\s*/>|<{0}v></{0}v>)?\s*</{0}c>"
)
_UNCOMPUTED = {
    b"<f": re.compile(_CELL_WITH_FORMULA.format("").encode()),
    b":f": re.compile(_CELL_WITH_FORMULA.format(r"\w+:").encode()),
}
"""A cell with a formula and no value, by what begins each formula: some programs write a prefix, as in <x:f>.

The value of a formula may be an empty text, which the type "str" says.
"""
_LONGEST_FORMULA = 1 << 15
"""Bytes of the chunk before that are searched again, more than a cell with a formula has."""
_MANIFEST = "xl/workbook.xml"


@contextlib.contextmanager
def open_xlsx(path: Path, vocabulary: Vocabulary) -> Iterator[WorkbookTable]:
    """Open a workbook; raise NotATable if it is damaged or its sheets cannot be read as one table."""
    with path.open("rb") as file, contextlib.closing(_load(file)) as workbook:
        if not workbook.worksheets:
            raise NotATable(tr("the workbook has no sheet of cells"))
        parts, is_formatted = _find_parts(file)
        sheets = [XlsxSheet(sheet, file, parts.get(sheet.title, ""), is_formatted) for sheet in workbook.worksheets]
        yield read_workbook(sheets, vocabulary, path.name)


def _load(file: BinaryIO) -> Workbook:
    try:
        with ZipFile(file) as archive:
            is_workbook = _MANIFEST in archive.namelist()
        file.seek(0)
        # The workbook is passed as an open file, because openpyxl rejects paths by their extension.
        workbook = load_workbook(file, read_only=True, data_only=True) if is_workbook else None
    except Exception as error:  # openpyxl and zipfile raise errors of any type for damaged files
        raise NotATable(
            tr("the file looks like an Excel workbook but cannot be opened; save it again in Excel")
        ) from error
    if workbook is None:
        raise NotATable(tr("the file is an archive and not an Excel workbook; unpack it and give the table inside"))
    return workbook


def _find_parts(file: BinaryIO) -> tuple[dict[str, str], bool]:
    """Return the archive's parts by the names of their sheets, and whether formats of cells must be read."""
    with ZipFile(file) as archive:
        manifest: Any = fromstring(archive.read(_MANIFEST))
        package: Any = WorkbookPackage.from_tree(manifest)
        targets = {relation.Id: relation.target for relation in get_dependents(archive, "xl/_rels/workbook.xml.rels")}
        is_formatted = has_telling_formats(archive)
    return {sheet.name: targets[sheet.id] for sheet in package.sheets if sheet.id in targets}, is_formatted


@dataclass(frozen=True, slots=True)
class XlsxSheet:
    """A sheet of an open workbook."""

    sheet: Any
    file: BinaryIO
    part: str
    is_formatted: bool

    @property
    def name(self) -> str:
        """Return the sheet's name."""
        return str(self.sheet.title)

    @property
    def hidden(self) -> bool:
        """Return whether the sheet is hidden."""
        return bool(self.sheet.sheet_state != "visible")

    def rows(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Yield the rows with their numbers; raise NotATable if the sheet is damaged."""
        number = 0
        try:
            # Some programs write a wrong sheet size, and openpyxl would read only that part.
            self.sheet.reset_dimensions()
            if self.is_formatted:
                for number, cells in enumerate(self.sheet.iter_rows(), start=1):
                    yield number, tuple(map(read_as_shown, cells))
                return
            for number, values in enumerate(self.sheet.iter_rows(values_only=True), start=1):
                yield number, values
        except Exception as error:  # openpyxl raises errors of any type; the caller's errors do not pass a yield
            where = tr("after row {number}", number=number) if number else tr("in its first row")
            raise NotATable(
                tr(
                    "the workbook is damaged {where}; open it in Excel, which may repair it, check that "
                    "all rows are there, and save it again",
                    where=where,
                )
            ) from error

    def marks(self) -> Marks:
        """Return the sheet's merged cells and hidden rows, and whether it has formulas without values.

        openpyxl reads them only together with all cells, which takes much memory. The part is therefore searched as
        text. Damage is reported when the rows are read.
        """
        marks = Marks()
        # zipfile raises errors of any type for damaged files.
        with contextlib.suppress(Exception), ZipFile(self.file) as archive, archive.open(self.part) as part:
            rest = before = b""
            while chunk := part.read(_CHUNK):
                marks.uncomputed = marks.uncomputed or _has_uncomputed(before + chunk)
                before = chunk[-_LONGEST_FORMULA:]
                text = rest + chunk
                cut = text.rfind(b"<")
                rest = text[cut:]
                _search(text[:cut], marks)
            _search(rest, marks)
        return marks


def _has_uncomputed(text: bytes) -> bool:
    """Check whether a part of a sheet has a formula whose value was never stored."""
    return any(start in text and pattern.search(text) for start, pattern in _UNCOMPUTED.items())


def _search(text: bytes, marks: Marks) -> None:
    if b"hidden=" in text:
        numbers = (_ROW_NUMBER.search(tag[0]) for tag in _HIDDEN_ROW.finditer(text))
        marks.hidden_rows += [int(number[1]) for number in numbers if number]
    if b"mergeCell " not in text:
        return
    for left, top, right, bottom in _MERGED.findall(text):
        if left == right and top != bottom:
            at = column_index_from_string(left.decode()) - 1
            marks.note_merged(at, int(top), int(bottom))
