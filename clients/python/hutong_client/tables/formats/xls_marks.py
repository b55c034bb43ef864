"""Read the marks of the sheets of an .xls. Microsoft describes the format in [MS-XLS]."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import olefile

from hutong_client.tables.formats.marks import Marks, name_error

_FORMULA, _ERROR_OR_BOOLEAN, _ROW, _BOUND_SHEET, _BEGIN = 0x0006, 0x0205, 0x0208, 0x0085, 0x0809
_WITH_PASSWORD = 0x002F
_FILLED = frozenset({_FORMULA, _ERROR_OR_BOOLEAN, 0x00D6, 0x00FD, 0x0203, 0x0204, 0x027E})
"""Records of a cell with a value. They begin with its row and its column."""
_SEVERAL_NUMBERS = 0x00BD
"""A record of numbers side by side. It ends with the last column."""
_HIDDEN = 0x20
"""Bit of a row's flags for a height of 0."""
_NO_NUMBER = b"\xff\xff"
"""The last bytes of a formula's value that is no number. The first byte is then its kind."""
_ERROR, _EMPTY = 2, 3


def read_xls(path: Path) -> Sequence[Marks] | None:
    """Return the marks of the sheets in their order; None if the workbook has a password."""
    with olefile.OleFileIO(str(path)) as container:
        stream = next((name for name in ("Workbook", "Book") if container.exists(name)), None)
        if stream is None:
            return None
        content = container.openstream(stream).read()
    at_position: dict[int, Marks] = {}
    current = Marks()
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
            _read_cell(kind, body, current)
        elif kind == _SEVERAL_NUMBERS:
            current.note_cell(int.from_bytes(body[:2], "little"), int.from_bytes(body[-2:], "little"))
    return [*at_position.values()]


def _read_cell(kind: int, body: bytes, marks: Marks) -> None:
    row, column = struct.unpack_from("<HH", body)
    marks.note_cell(row, column)
    if kind == _ERROR_OR_BOOLEAN and body[7] == 1:
        marks.errors[row + 1, column] = name_error(body[6])
    elif kind == _FORMULA:
        is_number = body[12:14] != _NO_NUMBER
        if not is_number and body[6] == _ERROR:
            marks.errors[row + 1, column] = name_error(body[8])
        marks.note_formula(column, is_empty=not is_number and body[6] == _EMPTY)


def _read_records(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield position, kind and body of each record."""
    at = 0
    while at + 4 <= len(content):
        kind, size = struct.unpack_from("<HH", content, at)
        yield at, kind, content[at + 4 : at + 4 + size]
        at += 4 + size
