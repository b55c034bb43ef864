"""At a node with nodes below: which replication stream of each of these nodes is the current one.

When a node connects again, a batch of its earlier stream may still be waiting here. If the node was restored in
between, it no longer has the log of that batch. Storing the batch would move a position past commits that the node is
about to send. The model of the exchange (docs/exchange.md §5) shows how such commits would be lost.
"""

from __future__ import annotations

from hutong_texts import english
from sqlalchemy import Connection, bindparam, select, update

from services.domain.errors import Unavailable
from services.domain.names import format_node
from services.results.exchange import tables
from services.storage.upsert import insert_if_absent

_streams = tables.replication_streams
# Built once, because every batch executes it.
_HELD = select(_streams.c.stream).where(_streams.c.node == bindparam("of_node")).with_for_update(read=True)


def begin_stream(connection: Connection, node: str) -> int:
    """Begin a stream of a node and return the number of the stream. Batches of earlier streams are refused from now on.

    Call this function first in a transaction, before the positions are read. The function waits for the batch that an
    earlier stream is storing.
    """
    connection.execute(insert_if_absent(connection, _streams).values(node=node, stream=0))
    moved = update(_streams).where(_streams.c.node == node).values(stream=_streams.c.stream + 1)
    return int(connection.execute(moved.returning(_streams.c.stream)).scalar_one())


def require_current(connection: Connection, node: str, stream: int) -> None:
    """Check that a stream is the node's current stream, and keep it the current stream until the transaction ends.

    Raises:
        Unavailable: STREAM_REPLACED, the node has begun another stream.
    """
    if connection.execute(_HELD, {"of_node": node}).scalar() != stream:
        raise Unavailable(
            "STREAM_REPLACED", english("the node has begun another replication"), metadata={"node": format_node(node)}
        )
