"""Writers of small workbooks of .ods and .xlsb, as LibreOffice and Excel save them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

Rows = Sequence[Sequence[Any]]
Place = tuple[int, int]
"""Row and column of a cell, from 0."""
ERROR, NO_VALUE, EMPTY_TEXT = object(), object(), object()
"""Cells that hold an error value (#REF!), a formula that was never computed, and a formula that is the empty text."""
ZEROS = 7
"""The number of the cell `WITH_ZEROS`, which is shown as 00000007."""
WITH_ZEROS = object()
"""A cell with a number that is shown with leading zeros."""
_NAMES = ("office", "table", "text", "style")
_SPACES = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in _NAMES)
_CALCEXT = 'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
_STYLES = "".join(
    f'<style:style style:name="{name}" style:family="table"><style:table-properties table:display="{shown}"/>'
    "</style:style>"
    for name, shown in (("shown", "true"), ("hidden", "false"))
)
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


@dataclass(frozen=True)
class Look:
    """What a sheet shows besides its values.

    Attributes:
        hidden: whether the sheet is hidden.
        hidden_rows: numbers of hidden rows, each with the way in which .ods hides it.
        merged: column, first and last row of merged ranges, from 0. The cells below the first one must be empty.
    """

    hidden: bool = False
    hidden_rows: Mapping[int, str] | None = None
    merged: Sequence[tuple[int, int, int]] = ()


PLAIN = Look()


def ods(
    *sheets: tuple[str, Rows], looks: Mapping[str, Look] | None = None, below: str = "", name: str = "day.ods"
) -> Callable[[Path], Path]:
    """Return a maker of an .ods with cells of text. `below` is put behind the last row of each sheet."""

    def table(title: str, rows: Rows, look: Look) -> str:
        hidden = look.hidden_rows or {}
        heights = {(first, at): last - first + 1 for at, first, last in look.merged}
        text = f'<table:table table:name="{escape(title)}" table:style-name="{"hidden" if look.hidden else "shown"}">'
        for number, row in enumerate(rows):
            way = hidden.get(number + 1)
            text += f'<table:table-row table:visibility="{way}">' if way else "<table:table-row>"
            text += "".join(_ods_cell(it, heights.get((number, at))) for at, it in enumerate(row))
            text += "</table:table-row>"
        return f"{text}{below}</table:table>"

    def make(folder: Path) -> Path:
        tables = "".join(table(title, rows, (looks or {}).get(title, PLAIN)) for title, rows in sheets)
        content = (
            f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {_SPACES} {_CALCEXT} office:version="1.2">'
            f"<office:automatic-styles>{_STYLES}</office:automatic-styles><office:body><office:spreadsheet>{tables}"
            "</office:spreadsheet></office:body></office:document-content>"
        )
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
            archive.writestr("content.xml", content)
            archive.writestr("META-INF/manifest.xml", "<manifest/>")
        return folder / name

    return make


def _ods_cell(value: Any, rows: int | None) -> str:
    span = f' table:number-rows-spanned="{rows}" table:number-columns-spanned="1"' if rows else ""
    if value is ERROR:
        kinds = 'office:value-type="string" office:string-value="" calcext:value-type="error"'
        return f'<table:table-cell table:formula="of:=#REF!" {kinds}{span}><text:p>#REF!</text:p></table:table-cell>'
    if value is NO_VALUE:
        return f'<table:table-cell table:formula="of:=[.A1]"{span}/>'
    if value is EMPTY_TEXT:
        return f'<table:table-cell table:formula="of:=&quot;&quot;"{span}><text:p/></table:table-cell>'
    if value is WITH_ZEROS:
        number = f'office:value-type="float" office:value="{ZEROS}" calcext:value-type="float"'
        return f"<table:table-cell {number}{span}><text:p>{ZEROS:08}</text:p></table:table-cell>"
    if value in {"", None}:
        return "<table:table-cell/>"
    text = escape(str(value))
    return f'<table:table-cell office:value-type="string"{span}><text:p>{text}</text:p></table:table-cell>'


def xlsb(*sheets: tuple[str, Rows], looks: Mapping[str, Look] | None = None) -> Callable[[Path], Path]:
    """Return a maker of an .xlsb with cells of text. The parts of its sheets stand in another order than the sheets."""

    def make(folder: Path) -> Path:
        bundle, relations = b"", ""
        with zipfile.ZipFile(folder / "day.xlsb", "w") as archive:
            for number, (title, rows) in enumerate(sheets, start=1):
                look = (looks or {}).get(title, PLAIN)
                part = f"worksheets/sheet{len(sheets) + 1 - number}.bin"
                archive.writestr(f"xl/{part}", _xlsb_sheet(rows, look))
                head = _number(int(look.hidden)) + _number(number)
                bundle += _record(156, head + _text(f"rId{number}") + _text(title))
                relations += f'<Relationship Id="rId{number}" Target="{part}" Type="{_RELATIONS}/worksheet"/>'
            book = _record(131) + _record(143) + bundle + _record(144) + _record(132)
            archive.writestr("xl/workbook.bin", book)
            archive.writestr("xl/styles.bin", _STYLES_OF_XLSB)
            space = "http://schemas.openxmlformats.org/package/2006/relationships"
            archive.writestr(
                "xl/_rels/workbook.bin.rels", f'<Relationships xmlns="{space}">{relations}</Relationships>'
            )
        return folder / "day.xlsb"

    return make


def _xlsb_sheet(rows: Rows, look: Look) -> bytes:
    width = max(map(len, rows))
    sheet = _record(129) + _record(148, b"".join(map(_number, (0, len(rows) - 1, 0, width - 1)))) + _record(145)
    for number, row in enumerate(rows):
        flags = bytes([0x10 if number + 1 in (look.hidden_rows or {}) else 0])
        sheet += _record(0, _number(number) + bytes(7) + flags + bytes(5))
        sheet += b"".join(_xlsb_cell(at, value) for at, value in enumerate(row) if value not in {"", None})
    sheet += _record(146)
    if look.merged:
        spans = (_number(first) + _number(last) + _number(at) * 2 for at, first, last in look.merged)
        sheet += _record(177, _number(len(look.merged)))
        sheet += b"".join(_record(176, span) for span in spans) + _record(178)
    return sheet + _record(130)


def _xlsb_cell(at: int, value: Any) -> bytes:
    place = _number(at) + bytes(4)
    formula = bytes(2) + _number(0) + _number(0)
    if value is ERROR:
        return _record(3, place + b"\x17")
    if value is WITH_ZEROS:
        return _record(2, _number(at) + _number(1) + (ZEROS << 2 | 2).to_bytes(4, "little"))
    if value in {NO_VALUE, EMPTY_TEXT}:
        return _record(8, place + _text("") + formula)
    return _record(6, place + _text(str(value)))


def _record(kind: int, body: bytes = b"") -> bytes:
    head = bytes([kind & 0x7F | 0x80, kind >> 7]) if kind > 0x7F else bytes([kind])
    size, length = b"", len(body)
    while True:
        size += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
        length >>= 7
        if not length:
            return head + size + body


def _number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _text(text: str) -> bytes:
    return _number(len(text)) + text.encode("utf-16-le")


_STYLES_OF_XLSB = b"".join(
    (
        *(
            _record(278),
            _record(615, _number(1)),
            _record(44, (164).to_bytes(2, "little") + _text("00000000")),
            _record(616),
        ),
        *(_record(626, _number(1)), _record(47, bytes(16)), _record(627)),
        *(
            _record(617, _number(2)),
            _record(47, bytes(16)),
            _record(47, bytes(2) + (164).to_bytes(2, "little") + bytes(12)),
        ),
        *(_record(618), _record(279)),
    )
)
"""Two styles of cells: without a format, and with leading zeros up to eight digits."""
