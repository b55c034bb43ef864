"""The change log: one entry for each commit, numbered within its writer, so that no reader ever skips a change.

A cursor over one shared sequence skips rows, because numbers are drawn before commits: a reader that has seen 7 never
returns for a 6 that commits later. Here a transaction locks a writer's row until its commit. Numbers and commits
therefore have the same order within a writer, and a cursor is one number for each writer. There are never more writers
than there were concurrent transactions.

An entry's turn, a Lamport timestamp, orders the entries of different writers. It is greater than the turn of every
commit that had ended when the entry was made, whatever the clocks say. A reader that has read up to a turn has
therefore read, for each change, every change before it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import accumulate, takewhile
from typing import Any, NamedTuple, TypeAlias

import orjson
from sqlalchemy import Connection, delete, func, insert, select, tuple_, update

from services.domain.errors import OutOfRange
from services.domain.instant import Instant, format_instant
from services.results.changelog import tables
from services.results.changelog.model import BEGINNING, ChangeKind, Cursor, Entry, LoggedChange, LogPage, Position

MAX_ENTRIES = 20
"""Entries of one writer that one read takes, which bounds its memory for any number of unread entries."""
MAX_RESULTS = 5_000
"""Reports that one read takes (some ten megabytes of results), or more if the first entry alone has more."""
LOADED_FIRST = 4
"""Entries that are fetched first; each further fetch takes twice as many. Most reads reach their limit after a few."""
REMOVED_STEP = 1_000
"""Entries of one writer that one transaction removes. On SQLite uploads wait for that transaction."""

_changes = tables.changes
_writers = tables.change_writers


class _EntryKey(NamedTuple):
    """The position of an entry among those of all writers. Turn and commit time order it first."""

    turn: tuple[int, Instant]
    writer_id: int
    sequence: int


Subscriber: TypeAlias = Callable[[Connection, Sequence[LoggedChange], Instant], None]
"""Receives changes in the transaction that makes them, after its writes and before its entries in the log."""


class ChangeLog:
    """Records what transactions change, and notifies subscribers in the same transaction."""

    def __init__(self, subscribers: Sequence[Subscriber] = ()) -> None:
        self._subscribers = tuple(subscribers)

    def record(self, connection: Connection, changes: Sequence[LoggedChange], now: Instant) -> None:
        """Notify subscribers, then log each change. Call it last, because the transaction holds a writer from here."""
        self.notify(connection, changes, now)
        for change in changes:
            append_entry(connection, change.lab, change.names, now, change.kind)

    def notify(self, connection: Connection, changes: Sequence[LoggedChange], now: Instant) -> None:
        """Notify subscribers of changes without logging them. Call it once in a transaction, after its writes."""
        if changes:
            for subscriber in self._subscribers:
                subscriber(connection, changes, now)


def append_entry(
    connection: Connection,
    lab: str,
    reports: Sequence[tuple[str, int]],
    now: Instant,
    kind: ChangeKind = ChangeKind.RESULTS,
) -> None:
    """Log what the transaction changed. Call it last, because the transaction holds a writer from here."""
    if not reports:
        return
    writer_id, sequence, turn = _acquire_writer(connection, now)
    connection.execute(
        insert(_changes).values(
            writer_id=writer_id,
            sequence=sequence,
            commit_time=now,
            lab=lab,
            reports=pack_reports(reports),
            kind=kind,
            turn=turn,
        )
    )


def pack_reports(reports: Sequence[tuple[str, int]]) -> bytes:
    """Encode a list of reports and revisions for the log."""
    return zlib.compress(orjson.dumps(reports), level=1)


def unpack_reports(packed: bytes) -> list[tuple[str, int]]:
    """Decode what `pack_reports` encoded."""
    return [*map(tuple, orjson.loads(zlib.decompress(packed)))]


def _acquire_writer(connection: Connection, now: Instant) -> tuple[int, int, int]:
    """Lock a writer until the commit, a new one if none is free. Return its id, next number and the entry's turn."""
    free = select(_writers.c.writer_id).order_by(_writers.c.writer_id).limit(1).with_for_update(skip_locked=True)
    others = _writers.alias("others")
    newest_turn = select(func.coalesce(func.max(others.c.newest_turn), 0)).scalar_subquery()
    # The writer's own turn counts too, because another transaction may have used it since the statement began.
    greatest = func.max if connection.dialect.name == "sqlite" else func.greatest
    acquired = connection.execute(
        update(_writers)
        .where(_writers.c.writer_id == free.scalar_subquery())
        .values(
            newest_sequence=_writers.c.newest_sequence + 1,
            newest_turn=greatest(_writers.c.newest_turn, newest_turn) + 1,
        )
        .returning(_writers.c.writer_id, _writers.c.newest_sequence, _writers.c.newest_turn)
    ).first()
    if acquired is not None:
        return acquired.writer_id, acquired.newest_sequence, acquired.newest_turn
    new = insert(_writers).values(start_time=now, newest_sequence=1, removed_sequence=0, newest_turn=newest_turn + 1)
    created = connection.execute(new.returning(_writers.c.writer_id, _writers.c.newest_turn)).one()
    return created.writer_id, 1, created.newest_turn


def oldest_cursor(connection: Connection) -> Cursor:
    """Return the oldest cursor after which every entry is kept."""
    query = select(_writers.c.writer_id, _writers.c.removed_sequence).where(_writers.c.removed_sequence > 0)
    return {row.writer_id: Position(row.removed_sequence) for row in connection.execute(query)}


def newest_cursor(connection: Connection) -> Cursor:
    """Return the cursor after every committed entry."""
    query = select(_writers.c.writer_id, _writers.c.newest_sequence)
    return {row.writer_id: Position(row.newest_sequence) for row in connection.execute(query)}


def read_entries(connection: Connection, cursor: Cursor) -> list[Entry]:
    """Return the entries of `read_log`."""
    return read_log(connection, cursor).entries


def read_log(
    connection: Connection, cursor: Cursor, limit: int | None = None, *, max_entries: int = MAX_ENTRIES
) -> LogPage:
    """Return the entries after a cursor, up to `limit` reports (default MAX_RESULTS) but at least one entry.

    At most `max_entries` entries of one writer are read.

    Each entry comes after all entries that had been committed when it was made. On PostgreSQL every statement here sees
    a later state than the one before. The first one reads each writer's newest number, which bounds the others.

    Raises:
        OutOfRange: CURSOR_TOO_OLD, an entry after the cursor is removed, or the cursor is of another log.
    """
    writers = {row.writer_id: row for row in connection.execute(select(_writers))}
    for writer_id in cursor.keys() - writers.keys():
        raise _too_old(connection, writer_id)
    keys: list[_EntryKey] = []
    limits: list[tuple[int, Instant]] = []
    for writer_id, writer in writers.items():
        after = cursor.get(writer_id, BEGINNING).sequence
        if not writer.removed_sequence <= after <= writer.newest_sequence:
            raise _too_old(connection, writer_id)
        if after < writer.newest_sequence:
            found = _read_keys(connection, writer_id, after, writer.newest_sequence, max_entries)
            keys += found
            if found[-1].sequence < writer.newest_sequence:
                limits.append(found[-1].turn)
    # If one writer has more entries than were read, later entries of other writers may belong behind the unread ones.
    keys = sorted(key for key in keys if not limits or key.turn <= min(limits))
    entries = _load(connection, keys, cursor, MAX_RESULTS if limit is None else limit)
    return LogPage(entries, not limits and len(entries) == len(keys))


def _read_keys(connection: Connection, writer_id: int, after: int, newest: int, limit: int) -> list[_EntryKey]:
    """Return the keys of a writer's next entries."""
    rows = connection.execute(
        select(_changes.c.sequence, _changes.c.turn, _changes.c.commit_time)
        .where(_changes.c.writer_id == writer_id, _changes.c.sequence > after, _changes.c.sequence <= newest)
        .order_by(_changes.c.sequence)
        .limit(limit)
    ).all()
    if not rows or rows[0].sequence != after + 1:
        # Removed since the writers were read.
        raise _too_old(connection, writer_id)
    # Entries from before turns were introduced have only their times, which a clock that was set back may disorder.
    # The running maximum keeps each after the earlier ones of its writer.
    turns = accumulate(((row.turn, row.commit_time) for row in rows), max)
    return [_EntryKey(turn, writer_id, row.sequence) for turn, row in zip(turns, rows, strict=True)]


def _load(connection: Connection, keys: Sequence[_EntryKey], cursor: Cursor, limit: int) -> list[Entry]:
    """Return the first of these entries, up to `limit` reports after the cursor but at least one entry."""
    entries: list[Entry] = []
    count, start, size = 0, 0, LOADED_FIRST
    while start < len(keys):
        found = _load_rows(connection, keys[start : start + size])
        for key in keys[start : start + size]:
            row = found.get((key.writer_id, key.sequence))
            if row is None:
                # Removed since its key was read.
                raise _too_old(connection, key.writer_id)
            entry = Entry(
                row.writer_id, row.sequence, row.commit_time, row.lab, unpack_reports(row.reports), ChangeKind(row.kind)
            )
            count += len(entry.reports) - entry.count_processed(cursor)
            if entries and count > limit:
                return entries
            entries.append(entry)
        start, size = start + size, size * 2
    return entries


def _load_rows(connection: Connection, keys: Sequence[_EntryKey]) -> dict[tuple[int, int], Any]:
    """Return stored entries by key. The caller unpacks the reports, the costliest part, only of entries it returns."""
    columns = tuple_(_changes.c.writer_id, _changes.c.sequence)
    query = select(_changes).where(columns.in_([(key.writer_id, key.sequence) for key in keys]))
    return {(row.writer_id, row.sequence): row for row in connection.execute(query)}


def _too_old(connection: Connection, writer_id: int) -> OutOfRange:
    query = select(_changes.c.commit_time).where(_changes.c.writer_id == writer_id).order_by(_changes.c.sequence)
    oldest = connection.execute(query.limit(1)).scalar()
    return OutOfRange(
        "CURSOR_TOO_OLD",
        "changes after this cursor are no longer kept; begin again without one",
        metadata={} if oldest is None else {"oldest": format_instant(oldest)},
    )


def remove_entries(
    connection: Connection,
    writer_id: int,
    before: Instant,
    step_size: int = REMOVED_STEP,
    *,
    up_to: int | None = None,
) -> tuple[int, bool]:
    """Remove a writer's first entries up to the first one not committed before an instant, or after `up_to`.

    Returns how many were removed, and whether there may be more to remove. The removed entries are always the first
    ones without a gap, so that one number says which cursors are too old.
    """
    query = (
        select(_changes.c.sequence, _changes.c.commit_time)
        .where(_changes.c.writer_id == writer_id)
        .order_by(_changes.c.sequence)
        .limit(step_size)
    )
    if up_to is not None:
        query = query.where(_changes.c.sequence <= up_to)
    old = list(takewhile(lambda row: row.commit_time < before, connection.execute(query)))
    if not old:
        return 0, False
    removed = old[-1].sequence
    connection.execute(update(_writers).where(_writers.c.writer_id == writer_id).values(removed_sequence=removed))
    connection.execute(delete(_changes).where(_changes.c.writer_id == writer_id, _changes.c.sequence <= removed))
    return len(old), len(old) == step_size


def list_writers(connection: Connection) -> list[int]:
    """Return the ids of all writers."""
    return list(connection.execute(select(_writers.c.writer_id).order_by(_writers.c.writer_id)).scalars())
