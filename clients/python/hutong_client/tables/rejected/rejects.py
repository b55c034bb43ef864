"""The rejects file: rejected rows with their faults, for a clerk to correct and upload again."""

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
from hutong_texts import tr

from hutong_client.private_files import open_privately
from hutong_client.tables.batches import Origin
from hutong_client.tables.completion import complete_cells
from hutong_client.tables.faults import Fault
from hutong_client.tables.rejected.layouts import Layout, Rejected
from hutong_client.tables.rejected.wording import explain_rule
from hutong_client.tables.tubes import ReadTube

_COLUMN_OF = {
    "document.number": "card_no",
    "document.type": "card_type",
    "document.issuing_country": "issuing_country",
    "document.name": "name",
    "document": "card_no",
    "report_number": "report_no",
    "persons": "pool_size",
    "specimen": "sample_type",
    "item": "check_project",
    "method": "check_project",
    "outcome": "nat_result",
    "sample_site": "sample_orgname",
    "sample_time": "sample_date",
    "receive_time": "collect_date",
    "test_time": "test_date",
    "report_time": "report_date",
}


def find_rejected(origin: Origin, rejections: Iterable[Rejection]) -> list[Rejected]:
    """Return a batch's rejected rows in the order of the file: bad rows that were not sent, and rejections."""
    found = [Rejected(bad.row, bad.faults, filled=bad.filled) for bad in origin.bad_rows]
    for rejection in rejections:
        found += _rejected_rows(origin.tubes[rejection.tube_index], rejection)
    return sorted(found, key=lambda rejected: rejected.row.order)


def count_reasons(rejected: Iterable[Rejected]) -> Counter[str]:
    """Count the rejected rows by reason. A row counts once for each of its reasons."""
    return Counter(reason for item in rejected for reason in {fault.reason for fault in item.faults})


def _rejected_rows(read: ReadTube, rejection: Rejection) -> Iterator[Rejected]:
    """Yield the rows of a rejection, each with its own faults: the row of one person, or all rows of the tube."""
    whole = rejection.person_index < 0
    of_tube: list[Fault] = []
    of_person: dict[int, list[Fault]] = {}
    for violation in rejection.violations:
        position, path = _split_path(violation.field)
        description = explain_rule(path, violation.description, violation.reason)
        fault = Fault(_COLUMN_OF.get(path, path), violation.reason, description)
        (of_tube if position is None else of_person.setdefault(position, [])).append(fault)
    for position in range(len(read.rows)) if whole else (rejection.person_index,):
        # A cell that breaks two rules may get the same fault twice, which is reported once.
        faults = dict.fromkeys((*of_tube, *of_person.get(position, ())))
        row = read.rows[position]
        yield Rejected(
            row, tuple(faults), rejection.retryable, complete_cells(row, read.shared, read.tube.pool_size, faults)
        )


def _split_path(path: str) -> tuple[int | None, str]:
    """Split "persons[2].document.number" into 2 and "document.number"; for a field of the tube the number is None."""
    if not path.startswith("persons["):
        return None, path
    position, _, rest = path.removeprefix("persons[").partition("]")
    return int(position), rest.removeprefix(".")


class NotFree(Exception):
    """The path cannot be used for rejected rows. The text says why."""


def part_path(path: Path) -> Path:
    """Return the path of the file to which rows are appended. At the end, a workbook is written from this file."""
    return path.with_name(path.name + ".part.csv") if path.suffix.lower() == ".xlsx" else path


def choose_rejects_path(file: Path, asked: Path | None, suffix: str, extension: str) -> Path:
    """Choose a path for the rejected rows of `file` that overwrites no file.

    Args:
        file: the laboratory's file.
        asked: the requested path; None to derive one from the file's name.
        suffix: the text after the file's name. A number follows it if the name is taken, because a clerk may be
            correcting the rows in the existing file.
        extension: the extension of the format, as ".csv".

    Raises:
        NotFree: the requested path exists already.
    """
    if asked is None:
        names = (f"{suffix}{f'.{number}' if number > 1 else ''}{extension}" for number in count(1))
        paths = (file.with_name(file.name + name) for name in names)
        return next(path for path in paths if not os.path.lexists(path) and not os.path.lexists(part_path(path)))
    path = asked.resolve()
    if path != part_path(path) and part_path(path).exists():
        raise NotFree(
            tr(
                "{asked} is left of an interrupted upload; continue that with --resume, or remove it",
                asked=part_path(asked),
            )
        )
    if path.exists():
        if path.samefile(file):
            raise NotFree(tr("{asked} is the file to upload; name another file for the rejected rows", asked=asked))
        if not path.is_file():
            raise NotFree(tr("{asked} is not a regular file; name a regular file for the rejected rows", asked=asked))
        raise NotFree(
            tr("{asked} exists already and is never overwritten; name another file, or move it away first", asked=asked)
        )
    return path


def is_intact(path: Path, size: int, sha256: str) -> bool:
    """Check whether the first `size` bytes of a file are unchanged."""
    return path.is_file() and _hash_start(path, size).hexdigest() == sha256


def _hash_start(path: Path, size: int) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(size, 1 << 20))):
            digest.update(chunk)
            size -= len(chunk)
    return digest


class RejectsFile:
    """An appender of rejected rows. Only the owner can read the file, because it holds people's data.

    With `keep_bytes`, an existing file is cut to this size and continued. Otherwise a new file is created, and a path
    that exists raises FileExistsError. A file without rows is removed at the end.
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
        self._file = open(self._path, "ab" if self._keep_bytes else "xb", opener=open_privately)
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
        """Append rejected rows."""
        self._append(self._layout.encode(rejected))

    def sync(self) -> tuple[int, str]:
        """Sync the file to the disk and return its size in bytes and its SHA-256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size, self._digest.hexdigest()

    def _append(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
