"""How rejected rows are written: in the format of their file, so that it can be uploaded again when they are mended."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Protocol

from hutong_client.tables.faults import Fault
from hutong_client.tables.ndjson_rows import NdjsonTable
from hutong_client.tables.rows import Row, Table

COLUMNS = ("row", "reasons", "fields", "descriptions", "can_be_retried")
"""What stands before the row's own columns. Several faults of one row are separated by "; "."""


class Rejected:
    """A row that was not stored, with all its faults."""

    __slots__ = ("faults", "retryable", "row")

    def __init__(self, row: Row, faults: Sequence[Fault], retryable: bool = False) -> None:
        self.row = row
        self.faults = faults
        self.retryable = retryable

    def told(self) -> tuple[int | str, ...]:
        """What stands under `COLUMNS`."""
        return (
            self.row.number,
            "; ".join(dict.fromkeys(fault.reason for fault in self.faults)),
            "; ".join(fault.column for fault in self.faults),
            "; ".join(fault.description for fault in self.faults),
            "yes" if self.retryable else "no",
        )


class Layout(Protocol):
    """A format of rejected rows, in UTF-8 with a mark, by which Excel knows it."""

    def heading(self) -> bytes:
        """What the file begins with; never empty."""

    def encode(self, rejected: Iterable[Rejected]) -> bytes:
        """Rows with what is wrong with them."""


def layout_of(table: Table) -> Layout:
    """The layout for a table's rejected rows: NDJSON for NDJSON, CSV for everything else."""
    return NdjsonLayout() if isinstance(table, NdjsonTable) else CsvLayout(table.header)


class CsvLayout:
    """CSV: what is wrong, then the row's own cells under the header of their file."""

    def __init__(self, header: Sequence[str]) -> None:
        self._width = len(header)
        self._own = [position for position, title in enumerate(header) if title not in COLUMNS]
        self._titles = [*COLUMNS, *(header[position] for position in self._own)]

    def heading(self) -> bytes:
        """The mark and the header."""
        return codecs.BOM_UTF8 + _as_csv([self._titles])

    def encode(self, rejected: Iterable[Rejected]) -> bytes:
        """A line for each row."""
        return _as_csv(map(self._line, rejected))

    def _line(self, item: Rejected) -> list[str | int]:
        original = item.row.original
        return [
            *item.told(),
            *(original[position] for position in self._own if position < len(original)),
            # Cells beyond the header are part of what is to be mended.
            *original[self._width :],
        ]


class NdjsonLayout:
    """NDJSON: each record with what is wrong as further keys, which an upload passes over.

    A line that is no JSON object stands as it was under the key `record`, for nothing can be put into it.
    """

    def heading(self) -> bytes:
        """The mark alone."""
        return codecs.BOM_UTF8

    def encode(self, rejected: Iterable[Rejected]) -> bytes:
        """A line for each row."""
        lines = (f"{json.dumps(self._line(item), ensure_ascii=False)}\n" for item in rejected)
        # Halves of characters, which only an escape of JSON can bring, become that escape again.
        return "".join(lines).encode("utf-8", "backslashreplace")

    def _line(self, item: Rejected) -> dict[str, object]:
        (text,) = item.row.original
        told: dict[str, object] = dict(zip(COLUMNS, item.told(), strict=True))
        return told | {key: value for key, value in _read_object(text).items() if key not in COLUMNS}


def _read_object(text: str) -> dict[str, object]:
    try:
        # As uploads read it: 18 digits without quotation marks, or 4,301, stay what they are.
        record = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else {"record": text}


def _as_csv(lines: Iterable[Sequence[str | int]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()
