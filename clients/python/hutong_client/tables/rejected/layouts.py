"""Layouts of rejected rows. They have the format of the uploaded file, so that corrected rows can be uploaded."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from hutong_client.tables.columns.header import name_columns
from hutong_client.tables.columns.vocabulary import ALIASES, OF_REJECTED, RESULTS
from hutong_client.tables.faults import Fault
from hutong_client.tables.formats.ndjson_rows import NdjsonTable
from hutong_client.tables.rows import Cell, NotATable, Row, Table

COLUMNS = ("row", "reasons", "fields", "descriptions", OF_REJECTED)
"""Columns before the row's own columns. Several faults of one row are separated by "; "."""


_AT_RISK = re.compile(
    r"0[0-9]+|[0-9]{11,}[Xx]?|[0-9.]+[Ee][+-]?[0-9]+|[0-9]{1,2}[:/-][0-9]{1,2}|[0-9]{1,2}:[0-9]{2}:[0-9]{2}"
    r"|[0-9]{4}[-/.][0-9]+[-/.][0-9]+( +[0-9:.]+)?|[0-9]*\.[0-9]+|[0-9]{1,3}(,[0-9]{3})+|[0-9]{1,2}月[0-9]{1,2}日"
    r"|[=+@-].+|(jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*[ -]?[0-9]{1,4}|true|false",
    re.IGNORECASE | re.DOTALL,
)
"""Texts that a spreadsheet program takes for a number, a date, a time or a formula, and writes back in another form.

They are numbers of more than 10 digits or with leading zeros, 1E5, 1.10, 10:1, 1-2, dates, times (which lose their
seconds), codes such as MAR1, and texts with the beginning of a formula.
"""
_KEPT_AS_TEXT = re.compile(r'="((?:[^"]|"")*)"')


class Rejected:
    """A row that was not stored, with all its faults.

    `filled` are cells from other rows of its file. The row is written with these cells, because without them the row
    would belong to another tube.
    """

    __slots__ = ("faults", "filled", "retryable", "row")

    def __init__(
        self, row: Row, faults: Sequence[Fault], retryable: bool = False, filled: Mapping[str, Cell] | None = None
    ) -> None:
        self.row = row
        self.faults = faults
        self.retryable = retryable
        self.filled = {column: _as_text(cell) for column, cell in (filled or {}).items()}

    def cells(self) -> tuple[int | str, ...]:
        """Return the cells of `COLUMNS`."""
        return (
            self.row.place,
            "; ".join(dict.fromkeys(fault.reason for fault in self.faults)),
            "; ".join(fault.column for fault in self.faults),
            "; ".join(fault.description for fault in self.faults),
            "yes" if self.retryable else "no",
        )


class Layout(Protocol):
    """A format of rejected rows, in UTF-8 with a byte-order mark, which Excel needs to recognise UTF-8."""

    def heading(self) -> bytes:
        """Return the beginning of the file, which is never empty."""

    def encode(self, rejected: Iterable[Rejected]) -> bytes:
        """Encode rows with their faults."""


def layout_of(table: Table) -> Layout:
    """Return the layout for a table's rejected rows: NDJSON for NDJSON, CSV for every other format."""
    return NdjsonLayout() if isinstance(table, NdjsonTable) else CsvLayout(table.header, bool(table.named_test))


class CsvLayout:
    """CSV: the faults, then the row's own cells under the header of its file.

    A column of the pool's size is added if the file has none. A column of the test is added if the file names the test
    elsewhere.
    """

    def __init__(self, header: Sequence[str], names_test: bool = False) -> None:
        self._width = len(header)
        self._own = [position for position, title in enumerate(header) if title not in COLUMNS]
        self._positions = {column: position for position, column in name_columns(header, RESULTS).items()}
        added_columns = ("pool_size", "check_project") if names_test else ("pool_size",)
        self._added = [column for column in added_columns if column not in self._positions]
        in_chinese = not "".join(header).isascii()
        added = [ALIASES[column][0] if in_chinese else column for column in self._added]
        self._titles = [*COLUMNS, *added, *(header[position] for position in self._own)]

    def heading(self) -> bytes:
        """Return the byte-order mark and the header."""
        return codecs.BOM_UTF8 + _as_csv([self._titles])

    def encode(self, rejected: Iterable[Rejected]) -> bytes:
        """Encode each row as a line."""
        return _as_csv(map(self._line, rejected))

    def _line(self, item: Rejected) -> list[str | int]:
        original = [*item.row.original]
        for column, text in item.filled.items():
            position = self._positions.get(column)
            if position is not None:
                original += [""] * (position + 1 - len(original))
                original[position] = text
        original = [protect(cell) for cell in original]
        return [
            *item.cells(),
            *(protect(item.filled.get(column, "")) for column in self._added),
            *(original[position] for position in self._own if position < len(original)),
            # Cells beyond the header are kept, because they are part of the fault.
            *original[self._width :],
        ]


def protect(cell: str) -> str:
    """Return a cell in the form in which spreadsheet programs keep it as text.

    Otherwise they would round a number of 18 digits, drop leading zeros, and show a time without its seconds or a ratio
    as a time of day. The cell is therefore written as a formula that consists of the text. The reader of CSV turns the
    formula back into the text.
    """
    if not _AT_RISK.fullmatch(cell) or _KEPT_AS_TEXT.fullmatch(cell):
        return cell
    return '="{}"'.format(cell.replace('"', '""'))


def unprotect(cell: str) -> str:
    """Return the text that `protect` has written."""
    kept = _KEPT_AS_TEXT.fullmatch(cell)
    return kept[1].replace('""', '"') if kept else cell


class NdjsonLayout:
    """NDJSON: each record with its faults under further keys, which an upload ignores.

    A line that is not a JSON object is written as a text under the key `record`, because it cannot take further keys.
    """

    def heading(self) -> bytes:
        """Return the byte-order mark."""
        return codecs.BOM_UTF8

    def encode(self, rejected: Iterable[Rejected]) -> bytes:
        """Encode each row as a line."""
        lines = (f"{json.dumps(self._line(item), ensure_ascii=False)}\n" for item in rejected)
        # Lone surrogates, which can only come from a JSON escape, are escaped again.
        return "".join(lines).encode("utf-8", "backslashreplace")

    def _line(self, item: Rejected) -> dict[str, object]:
        (text,) = item.row.original
        faults: dict[str, object] = dict(zip(COLUMNS, item.cells(), strict=True))
        record = {key: value for key, value in _read_object(text).items() if key not in COLUMNS}
        names = _name_keys(record) if item.filled else {}
        return faults | record | {names.get(column, column): text for column, text in item.filled.items()}


def _read_object(text: str) -> dict[str, object]:
    try:
        # Numbers are kept as text, as uploads read them, so that 18 or 4,301 digits are not changed.
        record = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else {"record": text}


def _name_keys(record: Mapping[str, object]) -> dict[str, str]:
    """Return the keys of a record by their columns."""
    keys = [*record]
    try:
        return {column: keys[position] for position, column in name_columns(keys, RESULTS).items()}
    except NotATable:
        return {}


def _as_text(cell: Cell) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _as_csv(lines: Iterable[Sequence[str | int]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()
