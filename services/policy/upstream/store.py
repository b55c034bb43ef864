"""Stores a node's copies of the policies of the nodes above.

All processes of a node store the same revisions. They may store them in any order and more than once.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from services.domain.instant import Instant
from services.domain.region import NATION
from services.policy import tables
from services.policy.copies import NodeLife, read_lives, receive_revision, write_lives
from services.policy.received import ReceivedRevision
from services.policy.rules.merging import merge_from_above
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.engine import Database
from services.storage.process_lock import aio_try_process_lock
from services.storage.upsert import insert_if_absent

_positions = tables.upstream_positions
_nodes = tables.nodes_below


class UpstreamPosition(NamedTuple):
    """A node's position in the watch of the policies of the node above.

    `cursor` is the cursor of the node above; empty if everything is to be sent again. This node has everything that the
    nodes above have published up to `as_of_time`. `lives` has the newest sequence of each life of their databases, by
    region.
    """

    cursor: str
    as_of_time: Instant
    lives: Mapping[NodeLife, int] = {}


class UpstreamStore:
    """What a node stores of the node above, in SQLite or PostgreSQL. `own` is the region of this node."""

    def __init__(self, database: Database, own: str) -> None:
        self._database = database
        self._own = own

    async def read_position(self) -> UpstreamPosition | None:
        """Return the stored position; None before the first checkpoint."""
        return await self._database.read(_read_position)

    async def receive(
        self, revisions: Sequence[ReceivedRevision], position: UpstreamPosition | None, now: Instant
    ) -> list[str]:
        """Store revisions as the node above has them, and the position after them, in one transaction.

        Some revisions may stay as they are stored, although the node above has them with other content
        (`merge_from_above`). Return their names. If there are any, the position is stored without its cursor, so that
        the next process compares everything again.
        """
        return await self._database.write(_receive, revisions, position, self._own, now)

    async def is_founded(self) -> bool:
        """Return whether this node has received every policy that stood at the node above for its region."""
        return await self._database.read(_is_founded)

    async def record_founded(self, nodes: Sequence[str], now: Instant) -> None:
        """Record that this node is founded, and the regions of nodes below it that the node above knows."""
        await self._database.write(_record_founded, nodes, now)

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[bool]:
        """Yield whether this process sends policies to the node above while the block runs.

        Only one process of a node sends.
        """
        async with aio_try_process_lock(self._database, "policy-sender", AdvisoryLock.POLICY_SENDER) as is_held:
            yield is_held


def _read_position(connection: Connection) -> UpstreamPosition | None:
    row = connection.execute(select(_positions.c.cursor, _positions.c.as_of_time)).first()
    return (
        None
        if row is None
        else UpstreamPosition(row.cursor, row.as_of_time, read_lives(connection, tables.upstream_lives))
    )


def _is_founded(connection: Connection) -> bool:
    return connection.execute(select(_positions.c.founded_time)).scalar() is not None


def _record_founded(connection: Connection, nodes: Sequence[str], now: Instant) -> None:
    # The lock waits for a publication that runs now. The next publication then sees the nodes.
    lock_until_commit(connection, AdvisoryLock.POLICY_CHANGE)
    for region in nodes:
        row = {"region": region, "stream": 0, "cursor": "", "as_of_time": 0}
        connection.execute(insert_if_absent(connection, _nodes).values(row))
    connection.execute(update(_positions).where(_positions.c.founded_time.is_(None)).values(founded_time=now))


def _receive(
    connection: Connection,
    revisions: Sequence[ReceivedRevision],
    position: UpstreamPosition | None,
    own: str,
    now: Instant,
) -> list[str]:
    if revisions:
        lock_until_commit(connection, AdvisoryLock.POLICY_CHANGE)
    differing = [
        one.revision.name for one in revisions if not receive_revision(connection, one, merge_from_above, own, now)
    ]
    if position is not None:
        _write_position(connection, position._replace(cursor="") if differing else position)
    return differing


def _write_position(connection: Connection, position: UpstreamPosition) -> None:
    values = {"cursor": position.cursor, "as_of_time": position.as_of_time}
    if connection.execute(update(_positions).values(values)).rowcount == 0:
        # Another process may have inserted its position at the same moment. Either position will do.
        connection.execute(insert_if_absent(connection, _positions).values(region=NATION, **values))
    write_lives(connection, tables.upstream_lives, position.lives)
