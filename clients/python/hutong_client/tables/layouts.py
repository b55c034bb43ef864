"""Layouts of rejected rows. They have the format of the uploaded file, so that corrected rows can be uploaded."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from hutong_client.tables.faults import Fault
from hutong_client.tables.formats.ndjson_rows import NdjsonTable
from hutong_client.tables.rows import Row, Table

COLUMNS = ("row", "reasons", "fields", "descriptions", "can_be_retried")
"""Columns before the row's own columns. Several faults of one row are separated by "; "."""


_AT_RISK = re.compile(
    r"0[0-9]+|[0-9]{11,}[Xx]?|[0-9]+[Ee][0-9]+|[0-9]{1,2}[:/-][0-9]{1,2}|[0-9]{4}[-/.][0-9]+[-/.][0-9]+ +[0-9:]+"
)
"""Texts that a spreadsheet program takes for a number, a date or a time, and writes back in another form.

They are numbers of more than 10 digits or with leading zeros, 1E5, 10:1, 1-2, and times, which lose their seconds.
"""


class Rejected:
    """A row that was not stored, with all its faults."""

    __slots__ = ("faults", "retryable", "row")

    def __init__(self, row: Row, faults: Sequence[Fault], retryable: bool = False) -> None:
        self.row = row
        self.faults = faults
        self.retryable = retryable

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
    return NdjsonLayout() if isinstance(table, NdjsonTable) else CsvLayout(table.header)


class CsvLayout:
    """CSV: the faults, then the row's own cells under the header of its file."""

    def __init__(self, header: Sequence[str]) -> None:
        self._width = len(header)
        self._own = [position for position, title in enumerate(header) if title not in COLUMNS]
        self._titles = [*COLUMNS, *(header[position] for position in self._own)]

    def heading(self) -> bytes:
        """Return the byte-order mark and the header."""
        return codecs.BOM_UTF8 + _as_csv([self._titles])

    def encode(self, rejected: Iterable[Rejected]) -> bytes:
        """Encode each row as a line."""
        return _as_csv(map(self._line, rejected))

    def _line(self, item: Rejected) -> list[str | int]:
        original = [protect(cell) for cell in item.row.original]
        return [
            *item.cells(),
            *(original[position] for position in self._own if position < len(original)),
            # Cells beyond the header are kept, because they are part of the fault.
            *original[self._width :],
        ]


def protect(cell: str) -> str:
    """Return a cell in the form in which spreadsheet programs keep it as text.

    They would round a number of 18 digits, drop leading zeros, and show a time without its seconds or a ratio as a time
    of day. A formula that consists of a text keeps it. The reader of CSV takes it for the text again.
    """
    return f'="{cell}"' if _AT_RISK.fullmatch(cell) else cell


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
        return faults | {key: value for key, value in _read_object(text).items() if key not in COLUMNS}


def _read_object(text: str) -> dict[str, object]:
    try:
        # Numbers are kept as text, as uploads read them, so that 18 or 4,301 digits are not changed.
        record = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else {"record": text}


def _as_csv(lines: Iterable[Sequence[str | int]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()
