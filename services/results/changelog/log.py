"""The change log: one entry for each commit, in the order of its writer, so that no change is ever skipped.

A cursor over one shared sequence skips rows: numbers are drawn before commits, and a watcher that has seen 7 never
comes back for the 6 that commits late. Here a write transaction borrows a writer that no other has meanwhile and holds
it until its commit, so within a writer numbers and commits have one order, and a cursor holds a number for each writer.
There are never more writers than there were ever transactions at once.

Among writers an entry's turn tells what was first: it is greater than that of every commit that was over when the entry
was made, whatever the clocks say. Who reads up to a bound of turns has with every change all that came before it.
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
"""Entries of one writer that a watcher reads at once."""
MAX_RESULTS = 5_000
"""Results that a watcher reads at once, but one entry at least: some ten megabytes."""
LOADED_FIRST = 4
"""Entries whose reports are fetched first, then twice as many, and so on: most readers are full after a few."""
REMOVED_STEP = 1_000
"""Entries of one writer that one transaction removes: uploads wait for it on SQLite."""

_changes = tables.changes
_writers = tables.change_writers


class _Mark(NamedTuple):
    """Where an entry stands: by turn and time first."""

    turn: tuple[int, Instant]
    writer_id: int
    sequence: int


Subscriber: TypeAlias = Callable[[Connection, Sequence[LoggedChange], Instant], None]
"""Learns of changes in the transaction that makes them, after its writes and before its entries in the log."""


class ChangeLog:
    """Records what transactions change, and tells subscribers of it in the same transaction."""

    def __init__(self, subscribers: Sequence[Subscriber] = ()) -> None:
        self._subscribers = tuple(subscribers)

    def record(self, connection: Connection, changes: Sequence[LoggedChange], now: Instant) -> None:
        """Tell subscribers, then log each change. Called last: from here on the transaction holds a writer."""
        self.notify(connection, changes, now)
        for change in changes:
            append_entry(connection, change.lab, change.names, now, change.kind)

    def notify(self, connection: Connection, changes: Sequence[LoggedChange], now: Instant) -> None:
        """Tell subscribers of changes that are not logged here. Called once in a transaction, after its writes."""
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
    """Log what the transaction changed. To be called last: from here on the transaction holds a writer."""
    if not reports:
        return
    writer_id, sequence, turn = _borrow_writer(connection, now)
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
    """A list of reports and revisions as the log keeps it."""
    return zlib.compress(orjson.dumps(reports), level=1)


def unpack_reports(packed: bytes) -> list[tuple[str, int]]:
    """What `pack_reports` wrote."""
    return [*map(tuple, orjson.loads(zlib.decompress(packed)))]


def _borrow_writer(connection: Connection, now: Instant) -> tuple[int, int, int]:
    """A writer that no other transaction has, held until the commit, with its next number and the entry's turn.

    A new writer if none is free.
    """
    free = select(_writers.c.writer_id).order_by(_writers.c.writer_id).limit(1).with_for_update(skip_locked=True)
    others = _writers.alias("others")
    newest_turn = select(func.coalesce(func.max(others.c.newest_turn), 0)).scalar_subquery()
    # Of its own turn too: another transaction may have used this writer since the statement began.
    greatest = func.max if connection.dialect.name == "sqlite" else func.greatest
    borrowed = connection.execute(
        update(_writers)
        .where(_writers.c.writer_id == free.scalar_subquery())
        .values(
            newest_sequence=_writers.c.newest_sequence + 1,
            newest_turn=greatest(_writers.c.newest_turn, newest_turn) + 1,
        )
        .returning(_writers.c.writer_id, _writers.c.newest_sequence, _writers.c.newest_turn)
    ).first()
    if borrowed is not None:
        return borrowed.writer_id, borrowed.newest_sequence, borrowed.newest_turn
    new = insert(_writers).values(start_time=now, newest_sequence=1, removed_sequence=0, newest_turn=newest_turn + 1)
    made = connection.execute(new.returning(_writers.c.writer_id, _writers.c.newest_turn)).one()
    return made.writer_id, 1, made.newest_turn


def oldest_cursor(connection: Connection) -> Cursor:
    """The cursor from which on everything is kept."""
    query = select(_writers.c.writer_id, _writers.c.removed_sequence).where(_writers.c.removed_sequence > 0)
    return {row.writer_id: Position(row.removed_sequence) for row in connection.execute(query)}


def newest_cursor(connection: Connection) -> Cursor:
    """The cursor after everything that is committed."""
    query = select(_writers.c.writer_id, _writers.c.newest_sequence)
    return {row.writer_id: Position(row.newest_sequence) for row in connection.execute(query)}


def read_entries(connection: Connection, cursor: Cursor) -> list[Entry]:
    """As `read_log`, without word of whether there is more."""
    return read_log(connection, cursor).entries


def read_log(connection: Connection, cursor: Cursor, limit: int | None = None) -> LogPage:
    """What came after a cursor, up to `limit` reports (MAX_RESULTS unless it is given) but one entry at least.

    No entry comes before one that was committed before it was made. On PostgreSQL each statement here sees a later
    state than the one before: the first one, which reads how far each writer is, bounds them all.

    Raises:
        OutOfRange: CURSOR_TOO_OLD, something after the cursor is no longer kept, or it is not of this log.
    """
    writers = {row.writer_id: row for row in connection.execute(select(_writers))}
    for writer_id in cursor.keys() - writers.keys():
        raise _too_old(connection, writer_id)
    marks: list[_Mark] = []
    cuts: list[tuple[int, Instant]] = []
    for writer_id, writer in writers.items():
        after = cursor.get(writer_id, BEGINNING).sequence
        if not writer.removed_sequence <= after <= writer.newest_sequence:
            raise _too_old(connection, writer_id)
        if after < writer.newest_sequence:
            found = _read_marks(connection, writer_id, after, writer.newest_sequence)
            marks += found
            if found[-1].sequence < writer.newest_sequence:
                cuts.append(found[-1].turn)
    # Where one writer's part ends early, later ones of the others may belong behind its rest.
    marks = sorted(mark for mark in marks if not cuts or mark.turn <= min(cuts))
    entries = _load(connection, marks, cursor, MAX_RESULTS if limit is None else limit)
    return LogPage(entries, not cuts and len(entries) == len(marks))


def _read_marks(connection: Connection, writer_id: int, after: int, newest: int) -> list[_Mark]:
    """Where a writer's next entries stand among those of others."""
    rows = connection.execute(
        select(_changes.c.sequence, _changes.c.turn, _changes.c.commit_time)
        .where(_changes.c.writer_id == writer_id, _changes.c.sequence > after, _changes.c.sequence <= newest)
        .order_by(_changes.c.sequence)
        .limit(MAX_ENTRIES)
    ).all()
    if not rows or rows[0].sequence != after + 1:
        # Removed since the writers were read.
        raise _too_old(connection, writer_id)
    # Never before an earlier one of its writer: entries that are older than turns have but their times.
    turns = accumulate(((row.turn, row.commit_time) for row in rows), max)
    return [_Mark(turn, writer_id, row.sequence) for turn, row in zip(turns, rows, strict=True)]


def _load(connection: Connection, marks: Sequence[_Mark], cursor: Cursor, limit: int) -> list[Entry]:
    """The first of these entries, up to `limit` reports that the cursor has not dealt with, but one entry at least."""
    entries: list[Entry] = []
    count, start, size = 0, 0, LOADED_FIRST
    while start < len(marks):
        found = _load_rows(connection, marks[start : start + size])
        for mark in marks[start : start + size]:
            row = found.get((mark.writer_id, mark.sequence))
            if row is None:
                # Removed since its mark was read.
                raise _too_old(connection, mark.writer_id)
            entry = Entry(
                row.writer_id, row.sequence, row.commit_time, row.lab, unpack_reports(row.reports), ChangeKind(row.kind)
            )
            count += len(entry.reports) - entry.dealt_with(cursor)
            if entries and count > limit:
                return entries
            entries.append(entry)
        start, size = start + size, size * 2
    return entries


def _load_rows(connection: Connection, marks: Sequence[_Mark]) -> dict[tuple[int, int], Any]:
    """Entries as they are stored: their reports, which cost most, are unpacked of those alone that are read."""
    key = tuple_(_changes.c.writer_id, _changes.c.sequence)
    query = select(_changes).where(key.in_([(mark.writer_id, mark.sequence) for mark in marks]))
    return {(row.writer_id, row.sequence): row for row in connection.execute(query)}


def _too_old(connection: Connection, writer_id: int) -> OutOfRange:
    query = select(_changes.c.commit_time).where(_changes.c.writer_id == writer_id).order_by(_changes.c.sequence)
    oldest = connection.execute(query.limit(1)).scalar()
    return OutOfRange(
        "CURSOR_TOO_OLD",
        "changes after this cursor are no longer kept; begin again without one",
        metadata={} if oldest is None else {"oldest": format_instant(oldest)},
    )


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
