"""Read the marks of the sheets of an .ods. OASIS describes the format in OpenDocument 1.3, part 3."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.parsers import expat
from zipfile import ZipFile

from hutong_client.tables.formats.marks import Marks, name_error

_TABLE, _ROW, _CELL, _COVERED, _TEXT = (
    "table:table", "table:table-row", "table:table-cell", "table:covered-table-cell", "text:p",
)  # fmt: skip
"""Names of elements with their usual prefixes. calamine knows no other prefixes."""
_WITH_MORE = re.compile(r"(?:0|[^\W\d_][^\d,.%]*)(\d+)")
"""A number that is shown with leading zeros or after letters."""
_MOST_ROWS = 1 << 20
_CHUNK = 1 << 16


def read_ods(archive: ZipFile) -> Sequence[Marks]:
    """Return the marks of the sheets in their order."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.CharacterDataHandler = reader.take_text
    with archive.open("content.xml") as part:
        while chunk := part.read(_CHUNK):
            parser.Parse(chunk)
    parser.Parse(b"", True)
    reader.end_row()
    return reader.found


class _Reader:
    """Reader of the elements of a document. A row, a cell and a sheet end where the next one begins."""

    def __init__(self) -> None:
        self.found: list[Marks] = []
        self._marks = Marks()
        self._row = self._rows = self._at = self._column = 0
        self._is_hidden = self._is_filled = self._awaits_text = False
        self._is_error = False
        self._value: str | None = None
        self._shown: list[str] | None = None

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name in {_CELL, _COVERED}:
            self._end_cell()
            self._start_cell(attributes)
        elif name == _TEXT:
            self._awaits_text = False
        elif name == _ROW:
            self.end_row()
            self._rows = min(int(attributes.get("table:number-rows-repeated", 1)), _MOST_ROWS)
            self._is_hidden = attributes.get("table:visibility") in {"collapse", "filter"}
        elif name == _TABLE:
            self.end_row()
            self._marks = Marks()
            self._row = 0
            self.found.append(self._marks)

    def take_text(self, text: str) -> None:
        if self._shown is not None:
            self._shown.append(text)

    def end_row(self) -> None:
        self._end_cell()
        if self._is_filled and self._is_hidden:
            self._marks.hidden_rows += range(self._row + 1, self._row + self._rows + 1)
        self._row += self._rows
        self._rows = self._column = 0
        self._is_filled = False

    def _start_cell(self, attributes: Mapping[str, str]) -> None:
        self._at = self._column
        self._column += int(attributes.get("table:number-columns-repeated", 1))
        kind = attributes.get("office:value-type")
        is_formula = "table:formula" in attributes
        self._is_error = attributes.get("calcext:value-type") == "error"
        if kind or is_formula or self._is_error:
            self._is_filled = True
            self._marks.note_cell(self._row + self._rows - 1, self._column - 1)
        if is_formula and not kind:
            self._awaits_text = True
        self._value = attributes.get("office:value")
        if self._is_error or kind == "float":
            self._shown = []
        spanned = int(attributes.get("table:number-rows-spanned", 1))
        if spanned > 1 and attributes.get("table:number-columns-spanned", "1") == "1":
            self._marks.note_merged(self._at, self._row + 1, self._row + spanned)

    def _end_cell(self) -> None:
        if self._awaits_text:
            self._marks.uncomputed = True
            self._awaits_text = False
        if self._shown is not None:
            text = "".join(self._shown).strip()
            found = _WITH_MORE.fullmatch(text)
            has_more = found is not None and int(found[1]) == float(self._value or "nan")
            shown = name_error(text) if self._is_error else text if has_more else ""
            if shown:
                for row in range(self._row, self._row + self._rows):
                    for column in range(self._at, self._column):
                        self._marks.note_text(row, column, shown)
            self._shown = None
