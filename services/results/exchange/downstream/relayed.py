"""Nodes at a greater depth below this one, as the nodes that replicate to this one state them in checkpoints.

`nodes` has the nodes that replicate to this one. Their own nodes below are relayed nodes here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

import structlog
from hutong.exchange.v1.exchange_service_pb2 import NodePosition, ReplicateCheckpoint
from hutong.results.v1.lookup_pb2 import (
    SOURCE_STATE_OK,
    SOURCE_STATE_RETIRED,
    SOURCE_STATE_UNAVAILABLE,
    DataSource,
    SourceState,
)
from sqlalchemy import Connection, delete, insert, select

from services.domain.errors import HutongError
from services.domain.instant import Instant, from_timestamp
from services.domain.names import parse_node
from services.domain.region import is_region, within
from services.results.exchange import tables
from services.results.exchange.downstream.lives import record_reached
from services.results.exchange.downstream.nodes import MAX_SILENCE
from services.results.exchange.downstream.streams import begin_stream
from services.results.exchange.homes.register import note_joined
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit

_relayed = tables.relayed_nodes
_nodes = tables.nodes
_STATES = frozenset({SOURCE_STATE_OK, SOURCE_STATE_RETIRED, SOURCE_STATE_UNAVAILABLE})
"""The states that a node may have. A node with any other stated state counts as UNAVAILABLE."""
_log = structlog.get_logger(__name__)


class RelayedNode(NamedTuple):
    """A node at a greater depth, the node that relays it, its state there, and the instant up to which it is known."""

    region: str
    relaying_node: str
    state: SourceState.ValueType
    as_of_time: Instant | None


def list_relayed(connection: Connection) -> list[RelayedNode]:
    """Return all relayed nodes, by region."""
    return [RelayedNode(*row) for row in connection.execute(select(_relayed).order_by(_relayed.c.node))]


def record_relayed(
    connection: Connection, sender: str, checkpoint: ReplicateCheckpoint, now: Instant, own: str
) -> None:
    """Record what a node states of the nodes below it: their states, and how far their databases' lives are here.

    Statements are ignored about nodes that are not below the sender, or that replicate to this node themselves. `own`
    is the region of this node.
    """
    _hand_over(connection, sender, [region for region, _ in _below(sender, checkpoint.nodes_below)], now, own)
    direct = set(connection.execute(select(_nodes.c.node)).scalars())
    rows = {
        region: {
            "node": region,
            "relaying_node": sender,
            "state": source.state if source.state in _STATES else SOURCE_STATE_UNAVAILABLE,
            "as_of_time": from_timestamp(source.as_of_time) if source.HasField("as_of_time") else None,
        }
        for region, source in _below(sender, checkpoint.nodes_below)
        if region not in direct
    }
    stored = {
        node: row for node, *row in connection.execute(select(_relayed).where(_relayed.c.relaying_node == sender))
    }
    if {node: list(row.values())[1:] for node, row in rows.items()} != stored:
        stale = _relayed.c.relaying_node == sender
        connection.execute(delete(_relayed).where(stale | _relayed.c.node.in_(sorted(rows))))
        if rows:
            connection.execute(insert(_relayed), list(rows.values()))
    reached = [(region, one) for region, one in _below(sender, checkpoint.positions_below) if region not in direct]
    for (region, writer), positions in groupby(reached, lambda one: (one[0], one[1].writer)):
        newest = {one.position.life: one.position.sequence for _, one in positions}
        record_reached(connection, region, writer, newest)


def _hand_over(connection: Connection, sender: str, below: Sequence[str], now: Instant, own: str) -> None:
    """Hand silent nodes over to the sender, which was founded between them and this node.

    Their laboratories are at home in the sender from now on. What it sent of them so far was set aside. This node
    therefore deletes its record of how far the sender has sent its log and ends its stream, and the sender sends
    everything again. The nodes that were handed over subscribe again, because the sender does not know their cursors.
    """
    silent = select(_nodes.c.node).where(_nodes.c.node.in_(below), _nodes.c.contact_time < now - MAX_SILENCE)
    if connection.execute(silent.limit(1)).first() is None:
        return
    # Commits that store laboratories take these locks in this order, and lock rows of nodes by region after that. The
    # sender contains the other nodes, so its region is the first.
    lock_until_commit(connection, AdvisoryLock.HOMES)
    lock_until_commit(connection, AdvisoryLock.SUBSCRIPTION)
    connection.execute(select(_nodes.c.node).where(_nodes.c.node == sender).with_for_update())
    moved = connection.execute(silent.order_by(_nodes.c.node).with_for_update()).scalars().all()
    if not moved:
        return
    for table in (tables.notifications, tables.subscriptions, tables.lab_homes, tables.replicated_positions, _nodes):
        connection.execute(delete(table).where(table.c.node.in_(moved)))
    note_joined(connection, sender, own)
    connection.execute(delete(tables.replicated_positions).where(tables.replicated_positions.c.node == sender))
    begin_stream(connection, sender)
    _log.warning("nodes were handed over to a node between them and this one", node=sender, nodes=moved)


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
