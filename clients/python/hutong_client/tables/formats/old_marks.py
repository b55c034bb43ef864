"""Find hidden rows of .xls, and error values of every old format, which calamine does not report.

Only the records of hidden rows and of error values are read. Microsoft describes .xls in [MS-XLS] and .xlsb in
[MS-XLSB].
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import ZipFile

import olefile
from hutong_texts import tr

from hutong_client.tables.formats.sheets import Marks

OLE = b"\xd0\xcf\x11\xe0"
"""First bytes of a compound file, the container of .xls."""
_FORMULA, _ERROR_OR_BOOLEAN, _ROW, _BOUND_SHEET, _BEGIN = 0x0006, 0x0205, 0x0208, 0x0085, 0x0809
_HIDDEN = 0x20
"""Bit of a row's flags in .xls for a height of 0."""
_XLSB_ERRORS = frozenset({3, 11})
"""Records of .xlsb: a cell with an error value, and a formula that results in one."""
_ODS_ERROR = b'calcext:value-type="error"'
_CHUNK = 1 << 20


def read_marks(path: Path, names: Sequence[str]) -> list[Marks]:
    """Return the marks of a workbook's sheets in their order.

    In .xlsb and .ods an error value is only known to be somewhere in the workbook, so every sheet is marked.
    """
    with path.open("rb") as file:
        is_xls = file.read(len(OLE)) == OLE
    if is_xls:
        return _read_xls(path, names)
    with ZipFile(path) as archive:
        if "content.xml" in archive.namelist():
            errors = _has_ods_error(archive)
        else:
            parts = [name for name in archive.namelist() if name.startswith("xl/worksheets/sheet")]
            errors = any(_has_xlsb_error(archive.read(name)) for name in parts)
    return [Marks(errors=errors) for _ in names]


def _read_xls(path: Path, names: Sequence[str]) -> list[Marks]:
    with olefile.OleFileIO(str(path)) as container:
        stream = next(name for name in ("Workbook", "Book") if container.exists(name))
        content = container.openstream(stream).read()
    at_position: dict[int, Marks] = {}
    found: list[Marks] = []
    current = Marks()
    for at, kind, body in _read_biff(content):
        if kind == _BOUND_SHEET and body[5] == 0:  # 0 is a sheet of cells
            at_position[int.from_bytes(body[:4], "little")] = sheet = Marks()
            found.append(sheet)
        elif kind == _BEGIN:
            current = at_position.get(at, current)
        elif kind == _ROW and body[12] & _HIDDEN:
            current.hidden_rows.append(int.from_bytes(body[:2], "little") + 1)
        elif (kind == _ERROR_OR_BOOLEAN and body[7] == 1) or (
            kind == _FORMULA and body[6] == 2 and body[12:14] == b"\xff\xff"
        ):
            current.errors = True
    if len(found) != len(names):
        raise ValueError(tr("the sheets of the workbook cannot be told apart"))
    return found


def _read_biff(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield position, kind and body of each record of .xls."""
    at = 0
    while at + 4 <= len(content):
        kind, size = struct.unpack_from("<HH", content, at)
        yield at, kind, content[at + 4 : at + 4 + size]
        at += 4 + size


def _has_xlsb_error(content: bytes) -> bool:
    """Check whether a sheet of .xlsb has an error value. Kind and size of a record have 7 bits in each byte."""
    at = 0
    while at < len(content):
        kind, at = _read_number(content, at, 2)
        size, at = _read_number(content, at, 4)
        if kind in _XLSB_ERRORS:
            return True
        at += size
    return False


def _read_number(content: bytes, at: int, most: int) -> tuple[int, int]:
    value = 0
    for place in range(most):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            break
    return value, at


def _has_ods_error(archive: ZipFile) -> bool:
    rest = b""
    with archive.open("content.xml") as part:
        while chunk := part.read(_CHUNK):
            if _ODS_ERROR in rest + chunk:
                return True
            rest = chunk[-len(_ODS_ERROR) :]
    return False
