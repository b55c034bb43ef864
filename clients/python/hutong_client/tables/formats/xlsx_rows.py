"""Read the sheets of an Excel workbook (.xlsx) row by row, so that memory does not grow with the workbook."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

from hutong_texts import english, tr
from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.stylesheet import apply_stylesheet
from openpyxl.utils import column_index_from_string
from openpyxl.xml.constants import SHARED_STRINGS
from openpyxl.xml.functions import fromstring, localname

from hutong_client.tables.columns.vocabulary import Vocabulary
from hutong_client.tables.formats.marks import Marks
from hutong_client.tables.formats.sheets import WorkbookTable, read_workbook
from hutong_client.tables.formats.xlsx_cells import RowReader, Shown, StringReader
from hutong_client.tables.rows import NotATable

_CHUNK = 1 << 20
_HIDDEN_ROW = re.compile(rb'<(?:\w+:)?row (?:[^>]* )?hidden="(?:1|true)"[^>]*(?<!/)>')
"""The start of a hidden row with cells."""
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
"""What begins a formula → a cell with a formula and no value. Some programs write a prefix, as in <x:f>.

A cell of the type "str" is left out, because the value of its formula may be an empty text.
"""
_LONGEST_FORMULA = 1 << 15
"""Number of bytes at the end of a chunk that are searched again with the next chunk. A cell with a formula has fewer
bytes."""
_MANIFEST = re.compile(r"xl/workbook\d*\.xml")
"""The part that lists the sheets. Some programs number it."""
_CANNOT_BE_OPENED = english("the file looks like an Excel workbook but cannot be opened; save it again in Excel")


@contextlib.contextmanager
def open_xlsx(path: Path, vocabulary: Vocabulary) -> Iterator[WorkbookTable]:
    """Open a workbook; raise NotATable if it is damaged or its sheets cannot be read as one table."""
    with path.open("rb") as file, _open_archive(file) as archive:
        sheets = _find_sheets(file, archive)
        if not sheets:
            raise NotATable(tr("the workbook has no sheet of cells"))
        yield read_workbook(sheets, vocabulary, path.name)


def _open_archive(file: BinaryIO) -> ZipFile:
    try:
        archive = ZipFile(file)
    except Exception as error:  # zipfile raises errors of several types for damaged files
        raise NotATable(tr(_CANNOT_BE_OPENED)) from error
    if not any(map(_MANIFEST.fullmatch, archive.namelist())):
        raise NotATable(tr("the file is an archive and not an Excel workbook; unpack it and give the table inside"))
    return archive


def _find_sheets(file: BinaryIO, archive: ZipFile) -> Sequence[XlsxSheet]:
    try:
        reader: Any = ExcelReader(file)
        reader.read_manifest()
        with warnings.catch_warnings():
            # openpyxl warns of parts that it does not know, and of the strict form of the format.
            warnings.simplefilter("ignore")
            reader.read_workbook()
        apply_stylesheet(archive, reader.wb)
        table = reader.package.find(SHARED_STRINGS)
        strings: Sequence[str] = ()
        if table is not None:
            with archive.open(table.PartName.lstrip("/")) as part:
                strings = StringReader().read(part)
        shown = Shown(reader.wb)
        manifest = fromstring(archive.read(reader.parser.workbook_part_name))
        found = [_read_attributes(element) for element in manifest.iter() if localname(element) == "sheet"]
        relations = reader.parser.rels
        missing = [sheet["name"] for sheet in found if relations[sheet["id"]].target not in archive.namelist()]
    except Exception as error:  # openpyxl and zipfile raise errors of any type for damaged files
        raise NotATable(tr(_CANNOT_BE_OPENED)) from error
    if missing:
        raise NotATable(
            tr(
                "the workbook is damaged: its sheet {name} is missing; open it in Excel, which may repair it, "
                "and save it again",
                name=missing[0],
            )
        )
    return [
        XlsxSheet(
            sheet["name"],
            sheet.get("state", "visible") != "visible",
            archive,
            relations[sheet["id"]].target,
            strings,
            shown,
        )
        for sheet in found
        if relations[sheet["id"]].Type.endswith("/worksheet")
    ]


def _read_attributes(element: Any) -> dict[str, str]:
    """Return the attributes by their names without namespaces, which differ in the strict form of the format."""
    return {name.rpartition("}")[2]: value for name, value in element.items()}


@dataclass(frozen=True, slots=True)
class XlsxSheet:
    """A sheet of an open workbook."""

    name: str
    hidden: bool
    archive: ZipFile
    part: str
    strings: Sequence[str]
    shown: Shown

    def rows(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield the rows with their numbers; raise NotATable if the sheet is damaged."""
        number = 0
        try:
            with self.archive.open(self.part) as part:
                for number, cells in RowReader(self.strings, self.shown).read(part):
                    yield number, cells
        except Exception as error:  # readers raise errors of any type; errors of the caller do not arrive here
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

        Some of these marks stand behind the cells, so the part is searched as text before its rows are read. Damage is
        reported when the rows are read.
        """
        marks = Marks()
        # zipfile raises errors of any type for damaged files.
        with contextlib.suppress(Exception), self.archive.open(self.part) as part:
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
