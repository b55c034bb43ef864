"""Finds commits that this node's change log lacks.

A life of the database, a writer and a sequence identify a commit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select, tuple_, update

from services.results.changelog import tables
from services.runtime.consistency import BEFORE_ANY, LogPosition
from services.storage.upsert import insert_if_absent

_changes = tables.changes
_removed = tables.removed_lives


def find_lost(connection: Connection, positions: Collection[LogPosition]) -> set[LogPosition]:
    """Return those positions whose commits this database does not hold and never will.

    A caller learns the position of a commit only once the commit is durable. If the commit is absent now, a restore
    from an older copy has lost it, even if another commit has its sequence now.
    """
    wanted = {position for position in positions if position.sequence != BEFORE_ANY.sequence}
    if not wanted:
        return set()
    keys = {(position.writer, position.sequence) for position in wanted}
    of_keys = tuple_(_changes.c.writer_id, _changes.c.sequence).in_(sorted(keys))
    rows = connection.execute(select(_changes.c.life, _changes.c.writer_id, _changes.c.sequence).where(of_keys))
    lost = wanted - {LogPosition._make(row) for row in rows}
    if not lost:
        return lost
    lives = tuple_(_removed.c.life, _removed.c.writer_id).in_(sorted({position[:2] for position in lost}))
    query = select(_removed.c.life, _removed.c.writer_id, _removed.c.newest_sequence).where(lives)
    removed = {(row.life, row.writer_id): row.newest_sequence for row in connection.execute(query)}
    return {position for position in lost if position.sequence > removed.get(position[:2], 0)}


def remember_lives(connection: Connection, writer_id: int, newest: Mapping[str, int]) -> None:
    """Record the newest sequence that each life of the database reached with a writer.

    Call it before retention removes the entries. `newest` has, for each life, the greatest sequence that is removed.
    """
    for life, sequence in sorted(newest.items()):
        mine = (_removed.c.life == life, _removed.c.writer_id == writer_id)
        new = insert_if_absent(connection, _removed).values(life=life, writer_id=writer_id, newest_sequence=sequence)
        if connection.execute(new).rowcount == 0:
            connection.execute(update(_removed).where(*mine).values(newest_sequence=sequence))
