"""Appends entries to the change log. A transaction calls these functions last, because they lock a writer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import BindParameter, Connection, bindparam, func, insert, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from services.domain.instant import Instant
from services.results.changelog import tables
from services.results.changelog.model import ChangeKind, PositionBelow
from services.results.changelog.packing import pack_positions, pack_reports
from services.runtime.consistency import LogPosition
from services.storage.advisory_locks import AdvisoryLock
from services.storage.distributed import commit_together
from services.storage.life import current_life
from services.storage.upsert import greater_for

_changes = tables.changes
_writers = tables.change_writers
_others = _writers.alias("others")
_NEWEST_TURN = select(func.coalesce(func.max(_others.c.newest_turn), 0)).scalar_subquery()
"""The newest turn of all writers."""


class NewEntry(NamedTuple):
    """An entry that is to be appended, with the positions of nodes below that the log reaches with it."""

    lab: str
    reports: Sequence[tuple[str, int]]
    commit_time: Instant
    kind: ChangeKind = ChangeKind.RESULTS
    other_keys: bytes | None = None
    positions_below: Sequence[PositionBelow] = ()


def append_entry(
    connection: Connection,
    lab: str,
    reports: Sequence[tuple[str, int]],
    now: Instant,
    kind: ChangeKind = ChangeKind.RESULTS,
) -> LogPosition | None:
    """Log what the transaction changed. Call it last, because it locks a writer until the commit.

    Return the position of the entry; None if nothing was changed.
    """
    return append_entries(connection, [NewEntry(lab, reports, now, kind)])[0] if reports else None


def append_barrier(connection: Connection, now: Instant, positions_below: Sequence[PositionBelow] = ()) -> LogPosition:
    """Log an entry that lists nothing. Return its position, which comes after every entry committed before.

    The answer to a repeated request names such a position, because a repeated request writes nothing.
    """
    return append_entries(connection, [NewEntry("", (), now, ChangeKind.BARRIER, positions_below=positions_below)])[0]


def append_entries(connection: Connection, entries: Sequence[NewEntry]) -> list[LogPosition]:
    """Log several changes of the transaction in order, as entries of one writer. Return their positions.

    There is at least one entry. Call this last, because it locks the writer until the commit.
    """
    count = len(entries)
    writer_id, newest_sequence, newest_turn = _acquire_writer(connection, entries[0].commit_time, count)
    commit_together(connection, AdvisoryLock.LOG_WRITER, writer_id, "report_keys.report_number")
    sequences = range(newest_sequence - count + 1, newest_sequence + 1)
    turns = range(newest_turn - count + 1, newest_turn + 1)
    rows = [
        {
            "writer_id": writer_id,
            "sequence": sequence,
            "commit_time": entry.commit_time,
            "lab": entry.lab,
            "reports": pack_reports(entry.reports),
            "kind": entry.kind,
            "turn": turn,
            "other_keys": entry.other_keys,
            "positions_below": pack_positions(entry.positions_below),
        }
        for entry, sequence, turn in zip(entries, sequences, turns, strict=True)
    ]
    new = insert(_changes).values(life=current_life(connection, _changes)).returning(_changes.c.life)
    life = connection.execute(new, rows).scalars().all()[0]
    return [LogPosition(life, writer_id, sequence) for sequence in sequences]


def _acquire_writer(connection: Connection, now: Instant, count: int) -> tuple[int, int, int]:
    """Lock a free or a new writer until the commit, for `count` entries.

    Return its id, and the sequence and turn of the last of these entries.
    """
    acquired = connection.execute(_acquire(connection.dialect.name), {"count": count}).first()
    if acquired is not None:
        return acquired.writer_id, acquired.newest_sequence, acquired.newest_turn
    new = insert(_writers).values(
        start_time=now, newest_sequence=count, removed_sequence=0, newest_turn=_NEWEST_TURN + count
    )
    created = connection.execute(new.returning(_writers.c.writer_id, _writers.c.newest_turn)).one()
    return created.writer_id, count, created.newest_turn


# Built once, because every commit executes it, and building it costs more than that.
@cache
def _acquire(dialect: str) -> ReturningUpdate[tuple[int, int, int]]:
    """Return the statement that locks a free writer for `count` entries."""
    free = select(_writers.c.writer_id).order_by(_writers.c.writer_id).limit(1).with_for_update(skip_locked=True)
    count: BindParameter[int] = bindparam("count")
    # `_NEWEST_TURN` is from the statement's snapshot. The writer's own turn may be newer, because another transaction
    # may have used this writer since.
    return (
        update(_writers)
        .where(_writers.c.writer_id == free.scalar_subquery())
        .values(
            newest_sequence=_writers.c.newest_sequence + count,
            newest_turn=greater_for(dialect, _writers.c.newest_turn, _NEWEST_TURN) + count,
        )
        .returning(_writers.c.writer_id, _writers.c.newest_sequence, _writers.c.newest_turn)
    )
