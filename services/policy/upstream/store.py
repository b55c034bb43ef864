"""Stores a node's copies of the policies of the nodes above.

Every process of a node stores the same revisions. A process may store them in any order and more than once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection, select, update

from services.domain.instant import Instant
from services.domain.region import NATION
from services.policy import tables
from services.policy.changes import insert_revision, revision_from_row, write_withdrawal
from services.policy.convert import Statement
from services.policy.model import Revision
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.engine import Database
from services.storage.upsert import insert_if_absent

_policies = tables.policies
_positions = tables.upstream_positions
_lives = tables.upstream_lives


NodeLife: TypeAlias = tuple[str, str]
"""The region of a node, and a life of its database."""


class UpstreamPosition(NamedTuple):
    """A node's position in the watch of the policies of the node above.

    `cursor` is that node's cursor, or empty if everything is to be sent again. Up to `as_of_time`, everything that the
    nodes above have published is here. `lives` gives the newest sequence of each life of their databases, by region.
    """

    cursor: str
    as_of_time: Instant
    lives: Mapping[NodeLife, int] = {}


class ReceivedRevision(NamedTuple):
    """A revision as the nation sent it, and the statement that it was made from."""

    revision: Revision
    statement: Statement


class UpstreamStore:
    """The store of the policies of the nodes above, in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_position(self) -> UpstreamPosition | None:
        """Return the stored position; None before the first checkpoint."""
        return await self._database.read(_read_position)

    async def receive(
        self, revisions: Sequence[ReceivedRevision], position: UpstreamPosition | None, now: Instant
    ) -> list[str]:
        """Store revisions as the nation has them, and the position after them, in one transaction.

        A stored revision is never replaced. Return the names of the stored revisions that differ from the
        nation's. If there are any, the position is stored without its cursor, so that the next process compares
        everything again.
        """
        return await self._database.write(_receive, revisions, position, now)


def _read_position(connection: Connection) -> UpstreamPosition | None:
    row = connection.execute(select(_positions.c.cursor, _positions.c.as_of_time)).first()
    if row is None:
        return None
    rows = connection.execute(select(_lives.c.region, _lives.c.life, _lives.c.sequence))
    lives: dict[NodeLife, int] = {(region, life): sequence for region, life, sequence in rows}
    return UpstreamPosition(row.cursor, row.as_of_time, lives)


def _receive(
    connection: Connection, revisions: Sequence[ReceivedRevision], position: UpstreamPosition | None, now: Instant
) -> list[str]:
    if revisions:
        lock_until_commit(connection, AdvisoryLock.POLICY_CHANGE)
    differing = [one.revision.name for one in revisions if not _receive_one(connection, one, now)]
    if position is not None:
        _write_position(connection, position._replace(cursor="") if differing else position)
    return differing


def _receive_one(connection: Connection, received: ReceivedRevision, now: Instant) -> bool:
    """Store a revision or its withdrawal. Return False if the stored revision differs; then store nothing."""
    revision = received.revision
    query = select(_policies).where(
        _policies.c.region == revision.region,
        _policies.c.policy_id == revision.policy_id,
        _policies.c.revision == revision.revision,
    )
    row = connection.execute(query).first()
    if row is None:
        insert_revision(connection, revision, received.statement, now)
        return True
    known = revision_from_row(row)
    if known.content_hash != revision.content_hash:
        return False
    if known.withdraw_time is not None:
        return revision.withdraw_time is not None
    if revision.withdraw_time is not None:
        write_withdrawal(connection, revision, now)
    return True


def _write_position(connection: Connection, position: UpstreamPosition) -> None:
    values = {"cursor": position.cursor, "as_of_time": position.as_of_time}
    if connection.execute(update(_positions).values(values)).rowcount == 0:
        # Another process may have inserted its position at this moment. Either position will do.
        connection.execute(insert_if_absent(connection, _positions).values(region=NATION, **values))
    for (region, life), sequence in sorted(position.lives.items()):
        # Another process may have stored a later position.
        behind = update(_lives).where(_lives.c.life == life, _lives.c.sequence < sequence)
        if connection.execute(behind.values(sequence=sequence)).rowcount == 0:
            connection.execute(insert_if_absent(connection, _lives).values(region=region, life=life, sequence=sequence))
