"""Read the marks of the sheets of an .xls. Microsoft describes the format in [MS-XLS]."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import olefile

from hutong_client.tables.formats.marks import Marks, name_error, read_rk, read_template

_FORMULA, _ERROR_OR_BOOLEAN, _ROW, _BOUND_SHEET, _BEGIN = 0x0006, 0x0205, 0x0208, 0x0085, 0x0809
_FORMAT, _STYLE, _NUMBER, _PACKED_NUMBER = 0x041E, 0x00E0, 0x0203, 0x027E
_WITH_PASSWORD = 0x002F
_FILLED = frozenset({_FORMULA, _ERROR_OR_BOOLEAN, _NUMBER, _PACKED_NUMBER, 0x00D6, 0x00FD, 0x0204})
"""Records of a cell with a value. These records begin with the cell's row and column."""
_SEVERAL_NUMBERS = 0x00BD
"""A record of numbers side by side. The record ends with the position of its last column."""
_HIDDEN = 0x20
"""Bit of a row's flags for a height of 0."""
_NO_NUMBER = b"\xff\xff"
"""The last bytes of a formula's value if the value is no number. The value's first byte is then its kind."""
_ERROR, _EMPTY = 2, 3


def read_xls(path: Path) -> Sequence[Marks] | None:
    """Return the marks of the sheets in their order; None if the workbook has a password."""
    with olefile.OleFileIO(str(path)) as container:
        stream = next((name for name in ("Workbook", "Book") if container.exists(name)), None)
        if stream is None:
            return None
        content = container.openstream(stream).read()
    at_position: dict[int, Marks] = {}
    current, templates = Marks(), _Templates()
    for at, kind, body in _read_records(content):
        if kind == _WITH_PASSWORD:
            return None
        if kind == _BOUND_SHEET:
            at_position[int.from_bytes(body[:4], "little")] = Marks()
        elif kind == _BEGIN:
            current = at_position.get(at, Marks())
        elif kind == _ROW and body[12] & _HIDDEN and body[2:4] != body[4:6]:
            current.hidden_rows.append(int.from_bytes(body[:2], "little") + 1)
        elif kind in _FILLED:
            _read_cell(kind, body, current, templates)
        elif kind == _SEVERAL_NUMBERS:
            _read_numbers(body, current, templates)
        elif kind == _FORMAT:
            templates.add_format(body)
        elif kind == _STYLE:
            templates.add_style(body)
    return [*at_position.values()]


class _Templates:
    """The template by which each style shows numbers; empty if the style shows numbers as they are."""

    def __init__(self) -> None:
        self._formats: dict[int, str] = {}
        self._by_style: list[str] = []

    def add_format(self, body: bytes) -> None:
        # A damaged format has no template, and programs read such a workbook all the same.
        number, length, flags = struct.unpack_from("<HHB", body.ljust(5, b"\0"))
        code = body[5 : 5 + 2 * length] if flags & 1 else body[5 : 5 + length]
        self._formats[number] = read_template(code.decode("utf-16-le" if flags & 1 else "latin-1", "replace"))

    def add_style(self, body: bytes) -> None:
        self._by_style.append(self._formats.get(int.from_bytes(body[2:4], "little"), ""))

    def of(self, style: int) -> str:
        return self._by_style[style] if style < len(self._by_style) else ""


def _read_numbers(body: bytes, marks: Marks, templates: _Templates) -> None:
    row, first = struct.unpack_from("<HH", body)
    marks.note_cell(row, int.from_bytes(body[-2:], "little"))
    for column, at in enumerate(range(4, len(body) - 2, 6), start=first):
        if template := templates.of(int.from_bytes(body[at : at + 2], "little")):
            marks.note_number(row, column, read_rk(body[at + 2 : at + 6]), template)


def _read_cell(kind: int, body: bytes, marks: Marks, templates: _Templates) -> None:
    row, column, style = struct.unpack_from("<HHH", body)
    marks.note_cell(row, column)
    if kind in {_NUMBER, _PACKED_NUMBER} and (template := templates.of(style)):
        number = read_rk(body[6:10]) if kind == _PACKED_NUMBER else struct.unpack_from("<d", body, 6)[0]
        marks.note_number(row, column, number, template)
    if kind == _ERROR_OR_BOOLEAN and body[7] == 1:
        marks.note_text(row, column, name_error(body[6]))
    elif kind == _FORMULA:
        is_number = body[12:14] != _NO_NUMBER
        if not is_number and body[6] == _ERROR:
            marks.note_text(row, column, name_error(body[8]))
        marks.note_formula(column, is_empty=not is_number and body[6] == _EMPTY)


def _read_records(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield position, kind and body of each record."""
    at = 0
    while at + 4 <= len(content):
        kind, size = struct.unpack_from("<HH", content, at)
        yield at, kind, content[at + 4 : at + 4 + size]
        at += 4 + size
