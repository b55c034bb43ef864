"""The change log: one entry for each commit, in the order of its writer, so that no change is ever skipped.

A cursor over one shared sequence skips rows: numbers are drawn before commits, and a watcher that has seen 7 never
comes back for the 6 that commits late. Here every write transaction borrows a writer that no other uses meanwhile, so
within a writer numbers and commits have one order, and a cursor holds a number for each writer.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import orjson
from sqlalchemy import Connection, func, insert, select

from services.domain.errors import InvalidArgument, OutOfRange
from services.domain.instant import Instant, format_instant
from services.results import tables

R = TypeVar("R")

MAX_ENTRIES = 50
"""Entries of one writer that a watcher reads at once: at most as many batches."""

_changes = tables.changes
_writers = tables.change_writers

Cursor = dict[int, int]
"""Writer → the sequence of its last entry that was dealt with. A writer that is missing is read from its beginning."""

Partial = tuple[int, int]
"""A writer whose next entry was sent in part, and how many of its results were."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: which reports of a laboratory got which revisions, in the order of the upload."""

    writer_id: int
    sequence: int
    commit_time: Instant
    lab: str
    reports: Sequence[tuple[str, int]]


class Writers:
    """Lends writers to write transactions, one at a time to each."""

    def __init__(self, register: Callable[[], Awaitable[int]]) -> None:
        self._register = register
        self._free: list[int] = []

    async def write(self, work: Callable[[int], Awaitable[R]]) -> R:
        """Run `work(writer_id)` with a writer of its own.

        It runs to its end even when the caller is cancelled: only then is it known that nothing more will be committed
        under the writer's next number.
        """
        writer_id = self._free.pop() if self._free else await self._register()
        task = asyncio.ensure_future(work(writer_id))
        task.add_done_callback(lambda _: self._free.append(writer_id))
        return await asyncio.shield(task)


def register_writer(connection: Connection, now: Instant) -> int:
    """A new writer's id."""
    inserted = connection.execute(insert(_writers).values(start_time=now)).inserted_primary_key
    assert inserted is not None
    return int(inserted[0])


def append_entry(
    connection: Connection, writer_id: int, lab: str, reports: Sequence[tuple[str, int]], now: Instant
) -> None:
    """Log what the transaction changed, as the writer's next entry."""
    if not reports:
        return
    newest = connection.execute(select(func.max(_changes.c.sequence)).where(_changes.c.writer_id == writer_id)).scalar()
    connection.execute(
        insert(_changes).values(
            writer_id=writer_id,
            sequence=(newest or 0) + 1,
            commit_time=now,
            lab=lab,
            reports=zlib.compress(orjson.dumps(reports), level=1),
        )
    )


def read_entries(connection: Connection, cursor: Cursor) -> list[Entry]:
    """What came after a cursor, each writer's in its order, at most MAX_ENTRIES of each.

    Raises:
        OutOfRange: CURSOR_TOO_OLD, what came next after the cursor is no longer kept.
    """
    entries: list[Entry] = []
    for writer_id in connection.execute(select(_writers.c.writer_id).order_by(_writers.c.writer_id)).scalars().all():
        after = cursor.get(writer_id, 0)
        rows = connection.execute(
            select(_changes)
            .where(_changes.c.writer_id == writer_id, _changes.c.sequence > after)
            .order_by(_changes.c.sequence)
            .limit(MAX_ENTRIES)
        ).all()
        if rows and after and rows[0].sequence != after + 1:
            raise OutOfRange(
                "CURSOR_TOO_OLD",
                "changes after this cursor are no longer kept; begin again without one",
                metadata={"oldest": format_instant(rows[0].commit_time)},
            )
        for row in rows:
            reports = [(number, revision) for number, revision in orjson.loads(zlib.decompress(row.reports))]
            entries.append(Entry(row.writer_id, row.sequence, row.commit_time, row.lab, reports))
    entries.sort(key=lambda entry: (entry.commit_time, entry.writer_id, entry.sequence))
    return _in_writers_order(entries)


def _in_writers_order(entries: list[Entry]) -> list[Entry]:
    """Entries by time, but never one before an earlier one of its writer, whatever the clock did meanwhile."""
    by_writer: dict[int, list[Entry]] = {}
    for entry in entries:
        by_writer.setdefault(entry.writer_id, []).append(entry)
    for queue in by_writer.values():
        queue.sort(key=lambda entry: entry.sequence, reverse=True)
    return [by_writer[entry.writer_id].pop() for entry in entries]


def encode_cursor(cursor: Cursor, partial: Partial | None = None) -> str:
    """The cursor as callers hold it."""
    pairs = [[writer_id, sequence] for writer_id, sequence in sorted(cursor.items())]
    return base64.urlsafe_b64encode(zlib.compress(orjson.dumps([partial, pairs]))).decode().rstrip("=")


def decode_cursor(text: str) -> tuple[Cursor, Partial | None]:
    """What `encode_cursor` wrote; the beginning for the empty text. InvalidArgument for anything else."""
    if not text:
        return {}, None
    try:
        raw = zlib.decompressobj().decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), 1 << 20)
        partial, pairs = orjson.loads(raw)
        cursor = {int(writer_id): int(sequence) for writer_id, sequence in pairs}
        return cursor, None if partial is None else (int(partial[0]), int(partial[1]))
    except (binascii.Error, zlib.error, ValueError, TypeError, IndexError):
        raise InvalidArgument.field("cursor", "is not a cursor of this service") from None
