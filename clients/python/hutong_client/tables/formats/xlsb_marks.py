"""Read the marks of the sheets of an .xlsb. Microsoft describes the format in [MS-XLSB]."""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Iterator, Sequence
from typing import IO
from zipfile import ZipFile

from openpyxl.packaging.relationship import get_dependents

from hutong_client.tables.formats.marks import Marks, name_error, read_rk, read_template

_ROW, _BLANK, _ERROR, _FORMULA_TEXT, _FORMULA_ERROR, _MERGED, _BUNDLED_SHEET = 0, 1, 3, 8, 11, 176, 156
_PACKED_NUMBER, _NUMBER, _FORMULA_NUMBER = 2, 5, 9
_FORMAT, _STYLE, _BEGIN_STYLES, _END_STYLES = 44, 47, 617, 618
_FORMULAS = frozenset({_FORMULA_TEXT, _FORMULA_NUMBER, 10, _FORMULA_ERROR})
_NUMBERS = frozenset({_PACKED_NUMBER, _NUMBER, _FORMULA_NUMBER})
_LAST_CELL = _FORMULA_ERROR
"""The kinds of records from 1 to this one are cells."""
_HIDDEN = 0x10
"""Bit of a row's flags for a height of 0."""
_CHUNK = 1 << 16
_LONGEST_HEAD = 6
"""The most bytes of the kind and the size of a record together."""
_MOST_NEEDED = 16
"""Number of bytes of a record that are needed. Only the records of the list of sheets need more."""
_MANIFEST, _STYLES = "xl/workbook.bin", "xl/styles.bin"


def read_xlsb(archive: ZipFile) -> Sequence[Marks]:
    """Return the marks of the sheets in their order."""
    relations = get_dependents(archive, "xl/_rels/workbook.bin.rels")
    targets = {str(relation.Id): str(relation.target) for relation in relations}
    found = []
    with archive.open(_MANIFEST) as manifest:
        identifiers = [
            _read_text(body, 8) for kind, body in _read_records(manifest, most=1 << 16) if kind == _BUNDLED_SHEET
        ]
    templates = _read_templates(archive)
    for identifier in identifiers:
        with archive.open(posixpath.normpath(targets[identifier]).lstrip("/")) as part:
            found.append(_read_sheet(part, templates))
    return found


def _read_templates(archive: ZipFile) -> Sequence[str]:
    """Return the template by which each style shows numbers; empty if the style shows numbers as they are."""
    formats: dict[int, str] = {}
    templates: list[str] = []
    is_of_cells = False
    if _STYLES not in archive.namelist():
        return templates
    with archive.open(_STYLES) as part:
        for kind, body in _read_records(part, most=1 << 10):
            if kind == _FORMAT:
                formats[int.from_bytes(body[:2], "little")] = read_template(_read_text(body, 2))
            elif kind in {_BEGIN_STYLES, _END_STYLES}:
                is_of_cells = kind == _BEGIN_STYLES
            elif kind == _STYLE and is_of_cells:
                templates.append(formats.get(int.from_bytes(body[2:4], "little"), ""))
    return templates


def _read_sheet(part: IO[bytes], templates: Sequence[str]) -> Marks:
    marks = Marks()
    row, is_hidden = 0, False
    for kind, body in _read_records(part, most=_MOST_NEEDED):
        if kind == _ROW:
            row, is_hidden = int.from_bytes(body[:4], "little"), bool(body[11] & _HIDDEN)
        elif _BLANK < kind <= _LAST_CELL:
            column = int.from_bytes(body[:4], "little")
            marks.note_cell(row, column)
            if is_hidden:
                marks.hidden_rows.append(row + 1)
                is_hidden = False
            style = int.from_bytes(body[4:7], "little")
            if kind in _NUMBERS and style < len(templates) and templates[style]:
                number = read_rk(body[8:12]) if kind == _PACKED_NUMBER else struct.unpack_from("<d", body, 8)[0]
                marks.note_number(row, column, number, templates[style])
            if kind in {_ERROR, _FORMULA_ERROR}:
                marks.note_text(row, column, name_error(body[8]))
            if kind in _FORMULAS:
                marks.note_formula(column, is_empty=kind == _FORMULA_TEXT and body[8:12] == bytes(4))
        elif kind == _MERGED:
            top, bottom, left, right = struct.unpack_from("<4I", body)
            if left == right and top != bottom:
                marks.note_merged(left, top + 1, bottom + 1)
    return marks


def _read_text(body: bytes, at: int) -> str:
    length = int.from_bytes(body[at : at + 4], "little")
    return body[at + 4 : at + 4 + 2 * length].decode("utf-16-le", "replace")


def _read_records(part: IO[bytes], most: int) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the first bytes of each record.

    Kind and size have 7 bits in each byte, and the highest bit says whether another byte follows.
    """
    buffer, at = b"", 0
    is_read = False
    while True:
        if not is_read and len(buffer) - at < _LONGEST_HEAD + most:
            chunk = part.read(_CHUNK)
            is_read = not chunk
            buffer, at = buffer[at:] + chunk, 0
            continue
        if at >= len(buffer):
            return
        kind = buffer[at]
        at += 1
        if kind & 0x80:
            kind = kind & 0x7F | (buffer[at] & 0x7F) << 7
            at += 1
        size = buffer[at]
        at += 1
        if size & 0x80:
            size &= 0x7F
            for place in (7, 14, 21):
                byte = buffer[at]
                at += 1
                size |= (byte & 0x7F) << place
                if not byte & 0x80:
                    break
        yield kind, buffer[at : at + min(size, most)]
        at += size
        while at > len(buffer) and not is_read:
            at -= len(buffer)
            buffer = part.read(_CHUNK)
            is_read = not buffer
