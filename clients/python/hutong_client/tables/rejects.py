"""The file of rejected rows: what is wrong with each, and the row itself, for a clerk to mend and upload again."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from hutong.results.v1.upload_pb2 import Rejection

from hutong_client.tables.batches import Origin
from hutong_client.tables.faults import Fault
from hutong_client.tables.layouts import Layout, Rejected
from hutong_client.tables.tubes import ReadTube
from hutong_client.tables.wording import explain_rule

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
        description = explain_rule(path, violation.description)
        fault = Fault(_COLUMN_OF.get(path, path), violation.reason, description)
        (of_tube if position is None else of_person.setdefault(position, [])).append(fault)
    for position in range(len(read.rows)) if whole else (rejection.person_index,):
        # A cell that breaks two rules at once is told once.
        faults = dict.fromkeys((*of_tube, *of_person.get(position, ())))
        yield Rejected(read.rows[position], tuple(faults), rejection.retryable)


def _split_path(path: str) -> tuple[int | None, str]:
    """Of "persons[2].document.number" 2 and "document.number"; of a field of the tube None and the field."""
    if not path.startswith("persons["):
        return None, path
    position, _, rest = path.removeprefix("persons[").partition("]")
    return int(position), rest.removeprefix(".")


class NotFree(Exception):
    """Rejected rows cannot go to that place; the text says why."""


def choose_place(file: Path, asked: Path | None, suffix: str, extension: str) -> Path:
    """Where the rejected rows of `file` can go without anything being overwritten.

    Args:
        file: the laboratory's file.
        asked: the place that was asked for, if one was.
        suffix: what is put behind the file's name otherwise, with a number in it while the name is taken: what stands
            there may be the rows that a clerk is mending.
        extension: of the format that they are written in, as ".csv"; it comes last.

    Raises:
        NotFree: what was asked for is there already.
    """
    if asked is None:
        names = (f"{suffix}{f'.{number}' if number > 1 else ''}{extension}" for number in count(1))
        return next(place for name in names if not os.path.lexists(place := file.with_name(file.name + name)))
    place = asked.resolve()
    if place.exists():
        if place.samefile(file):
            raise NotFree(f"{asked} is the file to upload; its rejected rows need a file of their own")
        if not place.is_file():
            raise NotFree(f"{asked} is no ordinary file; rejected rows need one of their own")
        raise NotFree(f"{asked} is there already, and nothing is overwritten; name another file, or move it away first")
    return place


def is_intact(path: Path, size: int, sha256: str) -> bool:
    """Whether a file still begins with what was written to it."""
    return path.is_file() and _hash_start(path, size).hexdigest() == sha256


def _hash_start(path: Path, size: int) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(size, 1 << 20))):
            digest.update(chunk)
            size -= len(chunk)
    return digest


class RejectsFile:
    """Appends rejected rows to a file that only its owner can read: it holds people's rows as they were given.

    It is made anew, FileExistsError where something stands, or gone on with after its first `keep_bytes`. One without
    rows is removed at the end.
    """

    def __init__(self, path: Path, layout: Layout, keep_bytes: int = 0) -> None:
        self._path = path
        self._layout = layout
        self._heading = layout.heading()
        self._keep_bytes = keep_bytes

    def __enter__(self) -> Self:
        if self._keep_bytes:
            os.truncate(self._path, self._keep_bytes)
        self._digest = _hash_start(self._path, self._keep_bytes) if self._keep_bytes else hashlib.sha256()
        self._file = open(
            self._path,
            "ab" if self._keep_bytes else "xb",
            opener=lambda name, flags: os.open(name, flags, 0o600),
        )
        if not self._keep_bytes:
            self._append(self._heading)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        finally:
            if self._path.stat().st_size <= len(self._heading):
                self._path.unlink()

    def write(self, rejected: Iterable[Rejected]) -> None:
        """Append rows."""
        self._append(self._layout.encode(rejected))

    def sync(self) -> tuple[int, str]:
        """Bring what was written to the disk; the size of the file in bytes and its SHA-256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size, self._digest.hexdigest()

    def _append(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
