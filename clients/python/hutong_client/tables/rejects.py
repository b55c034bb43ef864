"""The file of rejected rows: what is wrong with each, and the row itself, for a clerk to mend and upload again."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hutong.results.v1.upload_pb2 import Rejection

from hutong_client.tables.batches import Origin
from hutong_client.tables.faults import Fault
from hutong_client.tables.rows import Row
from hutong_client.tables.tubes import ReadTube

COLUMNS = ("row", "reasons", "fields", "descriptions", "can_be_retried")
"""What stands before the row's own columns. Several faults of one row are separated by "; "."""
_COLUMN_OF = {
    "document.number": "card_no",
    "document.type": "card_type",
    "document.issuing_country": "issuing_country",
    "document.name": "name",
    "document": "card_no",
    "report_number": "report_no",
    "persons": "pool_size",
    "specimen": "sample_type",
    "method": "check_project",
    "outcome": "nat_result",
    "sample_site": "sample_orgname",
    "sample_time": "sample_date",
    "receive_time": "collect_date",
    "test_time": "test_date",
    "report_time": "report_date",
}


class Rejected:
    """A row that was not stored, with all its faults."""

    __slots__ = ("faults", "retryable", "row")

    def __init__(self, row: Row, faults: Sequence[Fault], retryable: bool = False) -> None:
        self.row = row
        self.faults = faults
        self.retryable = retryable


def find_rejected(origin: Origin, rejections: Iterable[Rejection]) -> list[Rejected]:
    """A batch's rejected rows in the order of the file: those that never were sent, and those the service rejected."""
    found = [Rejected(bad.row, bad.faults) for bad in origin.bad_rows]
    for rejection in rejections:
        found += _rejected_rows(origin.tubes[rejection.tube_index], rejection)
    return sorted(found, key=lambda rejected: rejected.row.number)


def count_reasons(rejected: Iterable[Rejected]) -> Counter[str]:
    """How many rows were rejected for each reason; a row counts once for each of its reasons."""
    return Counter(reason for item in rejected for reason in {fault.reason for fault in item.faults})


def _rejected_rows(read: ReadTube, rejection: Rejection) -> Iterator[Rejected]:
    """The rows that a rejection stands for: one person's, or all of the tube's, each with what concerns it."""
    whole = rejection.person_index < 0
    of_tube: list[Fault] = []
    of_person: dict[int, list[Fault]] = {}
    for violation in rejection.violations:
        position, path = _split_path(violation.field)
        fault = Fault(_COLUMN_OF.get(path, path), violation.reason, violation.description)
        (of_tube if position is None else of_person.setdefault(position, [])).append(fault)
    for position in range(len(read.rows)) if whole else (rejection.person_index,):
        yield Rejected(read.rows[position], (*of_tube, *of_person.get(position, ())), rejection.retryable)


def _split_path(path: str) -> tuple[int | None, str]:
    """Of "persons[2].document.number" 2 and "document.number"; of a field of the tube None and the field."""
    if not path.startswith("persons["):
        return None, path
    position, _, rest = path.removeprefix("persons[").partition("]")
    return int(position), rest.removeprefix(".")


class RejectsFile:
    """Appends rejected rows to a CSV file that only its owner can read: it holds people's rows as they were given.

    Written in UTF-8 with a mark, by which Excel knows it, and made with the first rejected row.
    """

    def __init__(self, path: Path, header: Sequence[str], keep_bytes: int = 0) -> None:
        self._path = path
        self._own = [position for position, title in enumerate(header) if title not in COLUMNS]
        self._header = [*COLUMNS, *(header[position] for position in self._own)]
        self._fresh = keep_bytes == 0
        if self._fresh:
            path.unlink(missing_ok=True)
        else:
            os.truncate(path, keep_bytes)

    def __enter__(self) -> Self:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(handle, "a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._path.stat().st_size == 0:
            self._path.unlink()

    def write(self, rejected: Iterable[Rejected]) -> None:
        """Append rows."""
        for item in rejected:
            if self._fresh:
                self._file.write("\ufeff")
                self._writer.writerow(self._header)
                self._fresh = False
            self._writer.writerow(self._line(item))

    def sync(self) -> int:
        """Bring what was written to the disk; the size of the file in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def _line(self, item: Rejected) -> list[str | int]:
        original = item.row.original
        return [
            item.row.number,
            "; ".join(dict.fromkeys(fault.reason for fault in item.faults)),
            "; ".join(fault.column for fault in item.faults),
            "; ".join(fault.description for fault in item.faults),
            "yes" if item.retryable else "no",
            *(original[position] for position in self._own if position < len(original)),
        ]
