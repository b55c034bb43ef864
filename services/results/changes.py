"""The change log: one entry for each commit, in the order of its writer, so that no change is ever skipped.

A cursor over one shared sequence skips rows: numbers are drawn before commits, and a watcher that has seen 7 never
comes back for the 6 that commits late. Here a write transaction borrows a writer that no other has meanwhile and holds
it until its commit, so within a writer numbers and commits have one order, and a cursor holds a number for each writer.
There are never more writers than there were ever transactions at once.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import takewhile
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, delete, insert, select, update

from services.domain.errors import InvalidArgument, OutOfRange
from services.domain.instant import Instant, format_instant
from services.results import tables

MAX_ENTRIES = 20
"""Entries of one writer that a watcher reads at once."""
MAX_RESULTS = 5_000
"""Results that a watcher reads at once, but one entry at least: some ten megabytes."""
REMOVED_STEP = 1_000
"""Entries of one writer that one transaction removes: uploads wait for it on SQLite."""
_MAX_CURSOR_BYTES = 1 << 20
"""Of a cursor unpacked: tens of thousands of writers."""

_changes = tables.changes
_writers = tables.change_writers


class ChangeKind(IntEnum):
    """What the entries of the log speak of; watchers of results pass over all but the first."""

    RESULTS = 0
    LINKS = 1
    LABS = 2
    FOLLOW_UPS = 3


class Place(NamedTuple):
    """Where a watcher stands with a writer: its last entry that was dealt with, and how many reports of the next."""

    sequence: int
    dealt: int = 0


_BEGINNING = Place(0)

Cursor = dict[int, Place]
"""Writer → place; at its beginning with a writer that is missing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: which reports of a laboratory got which revisions, in the order of the upload.

    Of another kind than results, which links, laboratories or reported numbers it changed, with 0 for a revision.
    """

    writer_id: int
    sequence: int
    commit_time: Instant
    lab: str
    reports: Sequence[tuple[str, int]]
    kind: ChangeKind = ChangeKind.RESULTS


def append_entry(
    connection: Connection,
    lab: str,
    reports: Sequence[tuple[str, int]],
    now: Instant,
    kind: ChangeKind = ChangeKind.RESULTS,
) -> None:
    """Log what the transaction changed. To be called last: from here on the transaction holds a writer."""
    if not reports:
        return
    writer_id, sequence = _borrow_writer(connection, now)
    connection.execute(
        insert(_changes).values(
            writer_id=writer_id,
            sequence=sequence,
            commit_time=now,
            lab=lab,
            reports=pack_reports(reports),
            kind=kind,
        )
    )


def pack_reports(reports: Sequence[tuple[str, int]]) -> bytes:
    """A list of reports and revisions as the log keeps it."""
    return zlib.compress(orjson.dumps(reports), level=1)


def unpack_reports(packed: bytes) -> list[tuple[str, int]]:
    """What `pack_reports` wrote."""
    return [(number, revision) for number, revision in orjson.loads(zlib.decompress(packed))]


def _borrow_writer(connection: Connection, now: Instant) -> tuple[int, int]:
    """A writer that no other transaction has, held until the commit, and its next number; a new one if none is free."""
    free = select(_writers.c.writer_id).order_by(_writers.c.writer_id).limit(1).with_for_update(skip_locked=True)
    borrowed = connection.execute(
        update(_writers)
        .where(_writers.c.writer_id == free.scalar_subquery())
        .values(newest_sequence=_writers.c.newest_sequence + 1)
        .returning(_writers.c.writer_id, _writers.c.newest_sequence)
    ).first()
    if borrowed is not None:
        return borrowed.writer_id, borrowed.newest_sequence
    new = insert(_writers).values(start_time=now, newest_sequence=1, removed_sequence=0)
    return int(connection.execute(new.returning(_writers.c.writer_id)).scalar_one()), 1


def oldest_cursor(connection: Connection) -> Cursor:
    """The cursor from which on everything is kept."""
    query = select(_writers.c.writer_id, _writers.c.removed_sequence).where(_writers.c.removed_sequence > 0)
    return {row.writer_id: Place(row.removed_sequence) for row in connection.execute(query)}


def read_entries(connection: Connection, cursor: Cursor) -> list[Entry]:
    """What came after a cursor, each writer's in its order, as much as a watcher takes at once.

    Raises:
        OutOfRange: CURSOR_TOO_OLD, something after the cursor is no longer kept, or it is not of this log.
    """
    writers = {row.writer_id: row for row in connection.execute(select(_writers))}
    entries: list[Entry] = []
    for writer_id in cursor.keys() - writers.keys():
        raise _too_old(connection, writer_id)
    for writer_id, writer in writers.items():
        after = cursor.get(writer_id, _BEGINNING).sequence
        if not writer.removed_sequence <= after <= writer.newest_sequence:
            raise _too_old(connection, writer_id)
        if after < writer.newest_sequence:
            entries += _read_writer(connection, writer_id, after)
    entries.sort(key=lambda entry: (entry.commit_time, entry.writer_id, entry.sequence))
    return _cut(_in_writers_order(entries))


def _read_writer(connection: Connection, writer_id: int, after: int) -> list[Entry]:
    rows = connection.execute(
        select(_changes)
        .where(_changes.c.writer_id == writer_id, _changes.c.sequence > after)
        .order_by(_changes.c.sequence)
        .limit(MAX_ENTRIES)
    ).all()
    if rows and rows[0].sequence != after + 1:
        # Removed since the writers were read.
        raise _too_old(connection, writer_id)
    return [
        Entry(
            row.writer_id,
            row.sequence,
            row.commit_time,
            row.lab,
            unpack_reports(row.reports),
            ChangeKind(row.kind),
        )
        for row in rows
    ]


def _too_old(connection: Connection, writer_id: int) -> OutOfRange:
    query = select(_changes.c.commit_time).where(_changes.c.writer_id == writer_id).order_by(_changes.c.sequence)
    oldest = connection.execute(query.limit(1)).scalar()
    return OutOfRange(
        "CURSOR_TOO_OLD",
        "changes after this cursor are no longer kept; begin again without one",
        metadata={} if oldest is None else {"oldest": format_instant(oldest)},
    )


def _in_writers_order(entries: list[Entry]) -> list[Entry]:
    """Entries by time, but never one before an earlier one of its writer, whatever the clock did meanwhile."""
    by_writer: dict[int, list[Entry]] = {}
    for entry in entries:
        by_writer.setdefault(entry.writer_id, []).append(entry)
    for queue in by_writer.values():
        queue.sort(key=lambda entry: entry.sequence, reverse=True)
    return [by_writer[entry.writer_id].pop() for entry in entries]


def _cut(entries: list[Entry]) -> list[Entry]:
    """The first entries, up to MAX_RESULTS results and one entry at least."""
    taken: list[Entry] = []
    count = 0
    for entry in entries:
        count += len(entry.reports)
        if taken and count > MAX_RESULTS:
            break
        taken.append(entry)
    return taken


def remove_entries(connection: Connection, writer_id: int, before: Instant) -> bool:
    """Remove a writer's first entries, as far as they were committed before an instant; whether there may be more.

    Only ever a beginning of its entries, so that a cursor can tell whether it is too old.
    """
    query = (
        select(_changes.c.sequence, _changes.c.commit_time)
        .where(_changes.c.writer_id == writer_id)
        .order_by(_changes.c.sequence)
        .limit(REMOVED_STEP)
    )
    old = list(takewhile(lambda row: row.commit_time < before, connection.execute(query)))
    if not old:
        return False
    removed = old[-1].sequence
    connection.execute(update(_writers).where(_writers.c.writer_id == writer_id).values(removed_sequence=removed))
    connection.execute(delete(_changes).where(_changes.c.writer_id == writer_id, _changes.c.sequence <= removed))
    return len(old) == REMOVED_STEP


def list_writers(connection: Connection) -> list[int]:
    """Every writer there ever was."""
    return list(connection.execute(select(_writers.c.writer_id).order_by(_writers.c.writer_id)).scalars())


def encode_cursor(cursor: Cursor) -> str:
    """The cursor as callers hold it."""
    places = [[writer_id, *place] for writer_id, place in sorted(cursor.items())]
    return base64.urlsafe_b64encode(zlib.compress(orjson.dumps(places), level=1)).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor:
    """What `encode_cursor` wrote; InvalidArgument for anything else."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        unpacking = zlib.decompressobj()
        places = orjson.loads(unpacking.decompress(packed, _MAX_CURSOR_BYTES))
        if not unpacking.eof:
            raise ValueError
        return {writer_id: Place(sequence, dealt) for writer_id, sequence, dealt in map(_numbers, places)}
    except (binascii.Error, zlib.error, ValueError, TypeError):
        raise InvalidArgument.field("cursor", "is not a cursor of this service") from None


def _numbers(place: list[object]) -> list[int]:
    """A writer, a sequence and a count as a database takes them; ValueError for anything else."""
    numbers = [number for number in place if type(number) is int and 0 <= number < 2**63]
    if numbers != place or numbers[0] >= 2**31:
        raise ValueError
    return numbers
