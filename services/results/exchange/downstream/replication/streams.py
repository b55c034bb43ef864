"""At a node with nodes below: which replication stream of each of these nodes is the current one.

When a node connects again, a batch of its earlier stream may still be waiting here. If the node was restored in
between, it no longer has the log of that batch. Storing the batch would move a position past commits that the node is
about to send. The model of the exchange (docs/exchange.md §5) shows how such commits would be lost.

A stream ends with the life of this node's database. A connection outlives a failover, and the new server may lack
commits that are acknowledged to the node. The node learns of this only by the positions at the start of a stream.
"""

from __future__ import annotations

from typing import NamedTuple

from hutong_texts import english
from sqlalchemy import Connection, select, update

from services.domain.errors import Unavailable
from services.domain.names import format_node
from services.results.exchange import tables
from services.storage.life import current_life, require_life
from services.storage.upsert import insert_if_absent

_streams = tables.replication_streams


class Stream(NamedTuple):
    """A stream's number, and the life of this node's database in which the stream began."""

    number: int
    life: str


def begin_stream(connection: Connection, node: str) -> Stream:
    """Begin a stream of a node. Batches of earlier streams are refused from now on.

    Call this function first in a transaction, before the positions are read. The function waits for the batch that an
    earlier stream is storing.
    """
    connection.execute(insert_if_absent(connection, _streams).values(node=node, stream=0))
    moved = update(_streams).where(_streams.c.node == node).values(stream=_streams.c.stream + 1)
    number = int(connection.execute(moved.returning(_streams.c.stream)).scalar_one())
    return Stream(number, connection.execute(select(current_life(connection, _streams))).scalar_one())


def require_current(connection: Connection, node: str, stream: Stream) -> None:
    """Check that a stream is the node's current stream, and keep it the current stream until the transaction ends.

    Raises:
        Unavailable: STREAM_REPLACED, the node has begun another stream; DATABASE_UNAVAILABLE, the database was started
            again.
    """
    life = current_life(connection, _streams).label("life")
    held = select(_streams.c.stream, life).where(_streams.c.node == node).with_for_update(read=True)
    row = connection.execute(held).first()
    if row is None or row.stream != stream.number:
        raise Unavailable(
            "STREAM_REPLACED", english("the node has begun another replication"), metadata={"node": format_node(node)}
        )
    require_life(stream.life, row.life)
