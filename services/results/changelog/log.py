"""The change log: one entry for each commit, numbered within its writer, so that no reader ever skips a change.

One sequence for all transactions would make readers skip entries, because a transaction draws its number before it
commits. A reader that has seen 7 never returns for a 6 that commits later. Here each entry belongs to a writer, and a
transaction locks its writer's row until it commits. Numbers and commits therefore have the same order within a writer.
A cursor has one number for each writer. There are never more writers than the greatest number of transactions that ran
at the same time.

The turn of an entry is a Lamport timestamp. Turns order the entries of different writers. An entry's turn is greater
than the turn of every commit that had ended when the entry was made, whatever the clocks say. An entry therefore comes,
in order of turn, after every entry that was committed before it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, takewhile
from typing import Any, NamedTuple, TypeAlias

from hutong_texts import english
from sqlalchemy import Connection, delete, select, tuple_, update

from services.domain.errors import OutOfRange
from services.domain.instant import Instant, format_instant
from services.results.changelog import tables
from services.results.changelog.append import NewEntry, append_barrier, append_entries
from services.results.changelog.lives import remember_lives
from services.results.changelog.model import (
    BEGINNING,
    ChangeKind,
    Cursor,
    Entry,
    LoggedChange,
    LogPage,
    Position,
)
from services.results.changelog.packing import (
    pack_other_keys,
    unpack_other_keys,
    unpack_positions,
    unpack_reports,
)
from services.runtime.consistency import BEFORE_ANY, LogPosition
from services.storage.advisory_locks import AdvisoryLock
from services.storage.distributed import await_commits

MAX_ENTRIES = 20
"""The most entries of one writer that one read takes. The limit bounds the memory of a read."""
MAX_RESULTS = 5_000
"""The most reports that one read returns: some ten megabytes of results. If the first entry alone has more reports, the
read returns the whole entry."""
LOADED_FIRST = 4
"""Entries of the first fetch. Each further fetch takes twice as many. Most reads need only a few entries."""
REMOVED_STEP = 1_000
"""Entries of one writer that one transaction removes. On SQLite uploads wait for that transaction."""

_changes = tables.changes
_writers = tables.change_writers


class _EntryKey(NamedTuple):
    """The sort key of an entry among all entries. `turn` is the pair of the entry's turn and its commit time."""

    turn: tuple[int, Instant]
    writer_id: int
    sequence: int


Subscriber: TypeAlias = Callable[[Connection, Sequence[LoggedChange], Instant], None]
"""A function that a transaction calls with its changes, after its writes and before its entries in the log."""


class ChangeLog:
    """Records what transactions change, and notifies subscribers in the same transaction.

    `sends_keys` says that a node above needs the other keys of subjects.
    """

    def __init__(self, subscribers: Sequence[Subscriber] = (), *, sends_keys: bool = False) -> None:
        self._subscribers = tuple(subscribers)
        self._sends_keys = sends_keys

    def record(
        self, connection: Connection, changes: Sequence[LoggedChange], now: Instant, *, barrier: bool = False
    ) -> LogPosition:
        """Notify subscribers, then log each change. Call it last, because it locks a writer until the commit.

        Return the position of the newest entry; BEFORE_ANY if there was nothing to log. With `barrier`, an entry that
        lists nothing is logged in that case. Its position is returned, and comes after everything committed before.
        """
        self.notify(connection, changes, now)
        entries = [self._entry_of(change, now) for change in changes if change.names]
        if entries:
            return append_entries(connection, entries)[-1]
        return append_barrier(connection, now) if barrier else BEFORE_ANY

    def record_together(
        self, connection: Connection, changes: Sequence[LoggedChange], times: Sequence[Instant]
    ) -> list[LogPosition]:
        """Do as `record` does for changes that list something. Return the position of each entry.

        `times` are the commit times of the entries.
        """
        self.notify(connection, changes, times[-1])
        entries = [self._entry_of(change, time) for change, time in zip(changes, times, strict=True)]
        return append_entries(connection, entries)

    def _entry_of(self, change: LoggedChange, time: Instant) -> NewEntry:
        others = pack_other_keys(change) if self._sends_keys and change.other_keys else None
        return NewEntry(change.lab, change.names, time, change.kind, others)

    def notify(self, connection: Connection, changes: Sequence[LoggedChange], now: Instant) -> None:
        """Notify subscribers of changes without logging them. Call it once in a transaction, after its writes."""
        if changes:
            for subscriber in self._subscribers:
                subscriber(connection, changes, now)


def oldest_cursor(connection: Connection) -> Cursor:
    """Return the oldest cursor after which every entry is kept."""
    query = select(_writers.c.writer_id, _writers.c.removed_sequence).where(_writers.c.removed_sequence > 0)
    return {row.writer_id: Position(row.removed_sequence) for row in connection.execute(query)}


def newest_cursor(connection: Connection) -> Cursor:
    """Return the cursor after every committed entry."""
    query = select(_writers.c.writer_id, _writers.c.newest_sequence)
    return {row.writer_id: Position(row.newest_sequence) for row in connection.execute(query)}


def read_entries(connection: Connection, cursor: Cursor) -> list[Entry]:
    """Return the entries of `read_log` with its default limits."""
    return read_log(connection, cursor).entries


def read_log(
    connection: Connection, cursor: Cursor, limit: int | None = None, *, max_entries: int = MAX_ENTRIES
) -> LogPage:
    """Return the entries after a cursor.

    Together they have at most `limit` reports (default MAX_RESULTS), unless the first entry alone has more. At most
    `max_entries` entries of one writer are read.

    Each entry comes after all entries that had been committed when the entry was made. On PostgreSQL every statement
    here sees a later state than the statement before. The first statement reads each writer's newest sequence, and the
    later statements read no further than that sequence.

    Raises:
        OutOfRange: CURSOR_TOO_OLD, an entry after the cursor was removed, or the cursor is of another log.
        Unavailable: DATABASE_UNAVAILABLE, not every machine of Citus has committed the rows that the entries name.
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
    # If a writer has more entries than were read, its unread entries may come before entries of other writers. Keys
    # after the last key of that writer are therefore left to the next read.
    keys = sorted(key for key in keys if not limits or key.turn <= min(limits))
    entries = _load(connection, keys, cursor, MAX_RESULTS if limit is None else limit)
    await_commits(connection, AdvisoryLock.LOG_WRITER, {entry.writer_id for entry in entries})
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
        # Retention removed the next entry after the writers were read.
        raise _too_old(connection, writer_id)
    # Entries that are older than the column `turn` have only their commit times, and a clock that was set back may have
    # disordered these times. The running maximum keeps the entries of a writer in their order.
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
                # Retention removed the entry after its key was read.
                raise _too_old(connection, key.writer_id)
            reports = unpack_reports(row.reports)
            entry = Entry(
                row.writer_id,
                row.sequence,
                row.commit_time,
                row.lab,
                reports,
                ChangeKind(row.kind),
                row.life,
                unpack_other_keys(reports, row.other_keys),
                unpack_positions(row.positions_below),
            )
            count += len(entry.reports) - entry.count_processed(cursor)
            if entries and count > limit:
                return entries
            entries.append(entry)
        start, size = start + size, size * 2
    return entries


def _load_rows(connection: Connection, keys: Sequence[_EntryKey]) -> dict[tuple[int, int], Any]:
    """Return the rows of entries by key, with the reports still packed.

    Unpacking costs much, so the caller unpacks only the reports that it returns.
    """
    columns = tuple_(_changes.c.writer_id, _changes.c.sequence)
    query = select(_changes).where(columns.in_([(key.writer_id, key.sequence) for key in keys]))
    return {(row.writer_id, row.sequence): row for row in connection.execute(query)}


def _too_old(connection: Connection, writer_id: int) -> OutOfRange:
    query = select(_changes.c.commit_time).where(_changes.c.writer_id == writer_id).order_by(_changes.c.sequence)
    oldest = connection.execute(query.limit(1)).scalar()
    return OutOfRange(
        "CURSOR_TOO_OLD",
        english("changes after this cursor are no longer kept; begin again without one"),
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
    """Remove a writer's oldest entries that were committed before `before` and are not after the sequence `up_to`.

    Returns how many were removed, and whether there may be more to remove. The removal stops at the first entry that is
    kept. A cursor is therefore too old exactly if it lies before one sequence, that of the newest removed entry.
    """
    query = (
        select(_changes.c.sequence, _changes.c.commit_time, _changes.c.life)
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
    remember_lives(connection, writer_id, {row.life: row.sequence for row in old})
    connection.execute(update(_writers).where(_writers.c.writer_id == writer_id).values(removed_sequence=removed))
    connection.execute(delete(_changes).where(_changes.c.writer_id == writer_id, _changes.c.sequence <= removed))
    return len(old), len(old) == step_size


def forget_other_keys(connection: Connection, writer_id: int, after: int, up_to: int) -> None:
    """Remove the other keys from a writer's entries with sequences above `after` and up to `up_to`."""
    some = (_changes.c.writer_id == writer_id, _changes.c.sequence > after, _changes.c.sequence <= up_to)
    connection.execute(update(_changes).where(*some, _changes.c.other_keys.is_not(None)).values(other_keys=None))


def list_writers(connection: Connection) -> list[int]:
    """Return the ids of all writers."""
    return list(connection.execute(select(_writers.c.writer_id).order_by(_writers.c.writer_id)).scalars())
