"""Nodes at a greater depth below this one, as the nodes that replicate to this one state them in checkpoints.

`nodes` has the nodes that replicate to this one. Their own nodes below are relayed nodes here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

from hutong.exchange.v1.exchange_service_pb2 import NodePosition, ReplicateCheckpoint
from hutong.results.v1.lookup_pb2 import SOURCE_STATE_UNAVAILABLE, DataSource, SourceState
from sqlalchemy import Connection, delete, insert, select

from services.domain.errors import HutongError
from services.domain.instant import Instant, from_timestamp
from services.domain.names import parse_node
from services.domain.region import is_region, within
from services.results.exchange import tables
from services.results.exchange.downstream.lives import record_reached

_relayed = tables.relayed_nodes


class RelayedNode(NamedTuple):
    """A node at a greater depth, the node that relays it, its state there, and the instant up to which it is known."""

    region: str
    relaying_node: str
    state: SourceState.ValueType
    as_of_time: Instant | None


def list_relayed(connection: Connection) -> list[RelayedNode]:
    """Return all relayed nodes, by region."""
    return [RelayedNode(*row) for row in connection.execute(select(_relayed).order_by(_relayed.c.node))]


def record_relayed(connection: Connection, sender: str, checkpoint: ReplicateCheckpoint) -> None:
    """Record what a node states of the nodes below it: their states, and how far the lives of their databases are here.

    Statements about nodes that are not below the sender are ignored.
    """
    rows = {
        region: {
            "node": region,
            "relaying_node": sender,
            "state": source.state or SOURCE_STATE_UNAVAILABLE,
            "as_of_time": from_timestamp(source.as_of_time) if source.HasField("as_of_time") else None,
        }
        for region, source in _below(sender, checkpoint.nodes_below)
    }
    stored = {
        node: row for node, *row in connection.execute(select(_relayed).where(_relayed.c.relaying_node == sender))
    }
    if {node: list(row.values())[1:] for node, row in rows.items()} != {
        node: list(row) for node, row in stored.items()
    }:
        stale = _relayed.c.relaying_node == sender
        connection.execute(delete(_relayed).where(stale | _relayed.c.node.in_(sorted(rows))))
        if rows:
            connection.execute(insert(_relayed), list(rows.values()))
    for (region, writer), positions in groupby(
        _below(sender, checkpoint.positions_below), lambda one: (one[0], one[1].writer)
    ):
        newest = {one.position.life: one.position.sequence for _, one in positions}
        record_reached(connection, region, writer, newest)


_Stated = TypeVar("_Stated", DataSource, NodePosition)


def _below(sender: str, stated: Sequence[_Stated]) -> Iterator[tuple[str, _Stated]]:
    """Yield what is stated of nodes below the sender, each with the region of the node."""
    for one in stated:
        try:
            region = parse_node(one.node)
        except HutongError:
            continue
        if region != sender and is_region(region) and within(region, sender):
            yield region, one
