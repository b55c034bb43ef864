"""Stores the policies that nodes below send, with the position of each node's stream."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from hutong_texts import english
from sqlalchemy import Connection, select, update

from services.domain.errors import FailedPrecondition, Unavailable
from services.domain.instant import Instant
from services.domain.names import format_node
from services.domain.region import ancestry, within
from services.policy import tables
from services.policy.changes import newest_sequence
from services.policy.copies import NodeLife, receive_revision, write_lives
from services.policy.received import ReceivedRevision
from services.policy.rules.merging import merge_from_below
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.engine import Database
from services.storage.life import current_life, require_life
from services.storage.upsert import insert_if_absent

_nodes = tables.nodes_below


class Stream(NamedTuple):
    """A stream of a node below, as it begins.

    Attributes:
        region: the region of the sender.
        number: the number of the stream among the sender's streams.
        cursor: the sender's cursor from which the stream goes on.
        sequence: the sequence of the last change at this node.
        nodes: the regions of the known nodes within the sender's region. The sender's own region is not among them.
        life: the life of this node's database in which the stream began. The stream ends with it. A connection outlives
            a failover, and the new server may lack revisions before the cursor.
    """

    region: str
    number: int
    cursor: str
    sequence: int
    nodes: Sequence[str]
    life: str


class Progress(NamedTuple):
    """How far a sender and the nodes below it are known after a checkpoint.

    Attributes:
        cursor: the sender's cursor after everything that came before the checkpoint.
        extents: the instants up to which the sender and the nodes below it are known, by region; 0 for an instant that
            is not known.
        lives: the newest sequences of the lives of these nodes.
    """

    cursor: str
    extents: Mapping[str, Instant]
    lives: Mapping[NodeLife, int]


class DownstreamStore:
    """The store of what nodes below send, in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open_stream(self, region: str, retired: Collection[str] = ()) -> Stream:
        """Begin a stream of a node. From its first stream on, that node alone publishes for its region.

        Raises:
            FailedPrecondition: NOT_AN_UPSTREAM, another node below covers the region and is not retired.
        """
        return await self._database.write(_open_stream, region, retired)

    async def receive(
        self, stream: Stream, revisions: Sequence[ReceivedRevision], progress: Progress | None, now: Instant
    ) -> list[str]:
        """Store revisions in one transaction, together with the checkpoint after them, if there is one.

        Return the names of the revisions that the sender may not state. They are not stored.

        Raises:
            Unavailable: STREAM_REPLACED, the node has begun another stream; DATABASE_UNAVAILABLE, the database was
                started again.
        """
        return await self._database.write(_receive, stream, revisions, progress, now)


def _open_stream(connection: Connection, region: str, retired: Collection[str]) -> Stream:
    # The lock waits for a publication that runs now. The node therefore receives the published revision before it is
    # founded.
    lock_until_commit(connection, AdvisoryLock.POLICY_CHANGE)
    known = set(connection.execute(select(_nodes.c.region)).scalars())
    between = next((place for place in ancestry(region)[1:] if place in known and place not in retired), None)
    if between is not None:
        name = format_node(between)
        text = english("{between} is between {node} and this node", between=name, node=format_node(region))
        raise FailedPrecondition("NOT_AN_UPSTREAM", text, metadata={"node": name})
    _insert_node(connection, region)
    moved = update(_nodes).where(_nodes.c.region == region).values(stream=_nodes.c.stream + 1)
    row = connection.execute(moved.returning(_nodes.c.stream, _nodes.c.cursor)).one()
    inside = sorted(place for place in known if place != region and within(place, region))
    life = connection.execute(select(current_life(connection, _nodes))).scalar_one()
    return Stream(region, row.stream, row.cursor, newest_sequence(connection), inside, life)


def _receive(
    connection: Connection,
    stream: Stream,
    revisions: Sequence[ReceivedRevision],
    progress: Progress | None,
    now: Instant,
) -> list[str]:
    lock_until_commit(connection, AdvisoryLock.POLICY_CHANGE)
    life = current_life(connection, _nodes).label("life")
    current = connection.execute(select(_nodes.c.stream, life).where(_nodes.c.region == stream.region)).first()
    if current is None or current.stream != stream.number:
        node = format_node(stream.region)
        raise Unavailable("STREAM_REPLACED", english("the node has begun another replication"), metadata={"node": node})
    require_life(stream.life, current.life)
    refused = [
        one.revision.name
        for one in revisions
        if not receive_revision(connection, one, merge_from_below, stream.region, now)
    ]
    if progress is not None:
        connection.execute(update(_nodes).where(_nodes.c.region == stream.region).values(cursor=progress.cursor))
        for region, as_of_time in progress.extents.items():
            _insert_node(connection, region)
            if as_of_time:
                connection.execute(update(_nodes).where(_nodes.c.region == region).values(as_of_time=as_of_time))
        write_lives(connection, tables.lives_below, progress.lives)
    return refused


def _insert_node(connection: Connection, region: str) -> None:
    row = {"region": region, "stream": 0, "cursor": "", "as_of_time": 0}
    connection.execute(insert_if_absent(connection, _nodes).values(row))
