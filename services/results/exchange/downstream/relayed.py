"""Nodes at a greater depth below this one, as the nodes that replicate to this one state them in checkpoints.

The module `nodes` holds the nodes that replicate to this one. Nodes below those are called relayed nodes here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import structlog
from hutong.exchange.v1.exchange_service_pb2 import NodePosition, ReplicateBatch
from hutong.exchange.v1.node_pb2 import NodeBelow
from hutong.results.v1.lookup_pb2 import (
    SOURCE_STATE_OK,
    SOURCE_STATE_RETIRED,
    SOURCE_STATE_UNAVAILABLE,
    SourceState,
)
from sqlalchemy import Connection, Row, delete, insert, select

from services.domain.errors import HutongError
from services.domain.instant import Instant, from_timestamp
from services.domain.names import parse_node
from services.domain.region import is_region, within
from services.results.changelog.model import PositionBelow
from services.results.exchange import tables
from services.results.exchange.convert.figures import figures_from_proto
from services.results.exchange.downstream.nodes import MAX_SILENCE, list_nodes
from services.results.exchange.downstream.replication.lives import find_lives, record_reached
from services.results.exchange.downstream.replication.streams import begin_stream
from services.results.exchange.homes.find import deepest_node
from services.results.exchange.homes.register import note_joined
from services.results.exchange.model import Node, NodeFigures
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit

_relayed = tables.relayed_nodes
_nodes = tables.nodes
_STATES = frozenset({SOURCE_STATE_OK, SOURCE_STATE_RETIRED, SOURCE_STATE_UNAVAILABLE})
"""The states that a node may have. If another state is stated, the node counts as UNAVAILABLE."""
_PATH_SEPARATOR = "/"
_log = structlog.get_logger(__name__)


class RelayedNode(NamedTuple):
    """A node at a greater depth, as the node that relays it states it.

    Attributes:
        as_of_time: the instant up to which everything acknowledged at the node is known here.
        contact_time: when the node last sent something to the node above it, by the clock of that node above.
        backlog: the number of commits that the node had not sent at the contact time.
        figures: what the node above it has counted about it; None if that is not known.
        path: the regions of the nodes between the relaying node and the node, the nearest to the relaying node first.
        retire_time: when an operator of the node above it retired it. None if it is not retired or that is not known.
        retire_reason: why it was retired.
    """

    region: str
    relaying_node: str
    state: SourceState.ValueType
    as_of_time: Instant | None
    contact_time: Instant | None = None
    backlog: int = 0
    figures: NodeFigures | None = None
    path: tuple[str, ...] = ()
    retire_time: Instant | None = None
    retire_reason: str = ""


def list_relayed(connection: Connection) -> list[RelayedNode]:
    """Return all relayed nodes, by region."""
    return [_from_row(row) for row in connection.execute(select(_relayed).order_by(_relayed.c.node))]


def page_relayed(connection: Connection, after: str, limit: int) -> list[tuple[RelayedNode, Node]]:
    """Return at most `limit` relayed nodes by region, each with the node that relays it.

    The list begins after the region `after`.
    """
    page = select(_relayed).where(_relayed.c.node > after).order_by(_relayed.c.node).limit(limit)
    found = [_from_row(row) for row in connection.execute(page)]
    direct = {node.region: node for node in list_nodes(connection)} if found else {}
    return [(one, direct[one.relaying_node]) for one in found if one.relaying_node in direct]


def record_relayed(
    connection: Connection, sender: str, nodes_below: Sequence[NodeBelow], now: Instant, own: str
) -> None:
    """Record the states of all nodes below the sender, as the sender states them.

    A statement is ignored if it is about a node that is not below the sender. It is also ignored if it is about a node
    that replicates to this node itself, or about a node below such a node. `own` is the region of this node.
    """
    stated = dict(_below(sender, nodes_below))
    _hand_over(connection, sender, list(stated), now, own)
    direct = _list_direct(connection) if stated else ()
    rows = {
        region: {
            "node": region,
            "relaying_node": sender,
            "state": one.state if one.state in _STATES else SOURCE_STATE_UNAVAILABLE,
            "as_of_time": from_timestamp(one.as_of_time) if one.HasField("as_of_time") else None,
            "contact_time": from_timestamp(one.contact_time) if one.HasField("contact_time") else None,
            "backlog": one.backlog,
            **_figures_to_row(one),
            "path": _PATH_SEPARATOR.join(_path_of(sender, region, one)),
            **_retirement_to_row(one),
        }
        for region, one in stated.items()
        if deepest_node(region, direct) == sender
    }
    stored = {
        node: row for node, *row in connection.execute(select(_relayed).where(_relayed.c.relaying_node == sender))
    }
    if {node: list(row.values())[1:] for node, row in rows.items()} != stored:
        stale = _relayed.c.relaying_node == sender
        connection.execute(delete(_relayed).where(stale | _relayed.c.node.in_(sorted(rows))))
        if rows:
            connection.execute(insert(_relayed), list(rows.values()))


def _from_row(row: Row[Any]) -> RelayedNode:
    figures = None if row.clock_skew is None else NodeFigures(*[getattr(row, name) for name in NodeFigures._fields])
    path = tuple(row.path.split(_PATH_SEPARATOR)) if row.path else ()
    return RelayedNode(
        row.node,
        row.relaying_node,
        row.state,
        row.as_of_time,
        row.contact_time,
        row.backlog,
        figures,
        path,
        row.retire_time,
        row.retire_reason,
    )


def _figures_to_row(stated: NodeBelow) -> dict[str, int | None]:
    if stated.HasField("figures"):
        return figures_from_proto(stated.figures)._asdict()
    return dict.fromkeys(NodeFigures._fields, 0) | {"clock_skew": None}


def _retirement_to_row(stated: NodeBelow) -> dict[str, Any]:
    if stated.state == SOURCE_STATE_RETIRED and stated.HasField("retire_time"):
        return {"retire_time": from_timestamp(stated.retire_time), "retire_reason": stated.retire_reason}
    return {"retire_time": None, "retire_reason": ""}


def _path_of(sender: str, region: str, stated: NodeBelow) -> list[str]:
    """Return the stated regions of the nodes between the sender and a node. If they cannot be true, return none."""
    path = [one.removeprefix("nodes/") for one in stated.path]
    steps = pairwise([sender, *path, region])
    return path if all(below != above and within(below, above) for above, below in steps) else []


def list_positions(connection: Connection, sender: str, batch: ReplicateBatch) -> list[PositionBelow]:
    """Return the positions that a batch reaches, of the sender and of nodes below it.

    This node sends them to the node above.
    """
    own = [PositionBelow(sender, batch.writer, one.life, one.sequence) for one in batch.lives]
    return own + _select_positions(connection, sender, batch.positions_below)


def record_positions(connection: Connection, sender: str, positions_below: Sequence[NodePosition]) -> None:
    """Record how far the commits of nodes below the sender are durable here, for each life of their databases.

    Ignore statements that `record_relayed` ignores.

    Call this function before `record_relayed`, which hands nodes over to the sender. What the sender has sent of such a
    node so far was set aside and comes again, so the node's positions must not count yet. The sender states the lives
    of a node in their order. If retention at the sender has removed the entries of a life, this node may hear of that
    life after a later one.
    """
    stated = _select_positions(connection, sender, positions_below)
    known = find_lives(connection, {one.node for one in stated})
    with_later: set[str] = set()
    others: list[PositionBelow] = []
    for one in reversed(stated):
        if (one.node, one.life) in known:
            with_later.add(one.node)
        elif one.node in with_later:
            record_reached(connection, one.node, one.writer, {one.life: one.sequence}, is_earlier=True)
            continue
        others.append(one)
    for one in reversed(others):
        record_reached(connection, one.node, one.writer, {one.life: one.sequence})


def _select_positions(
    connection: Connection, sender: str, positions_below: Sequence[NodePosition]
) -> list[PositionBelow]:
    stated = list(_below(sender, positions_below))
    direct = _list_direct(connection) if stated else ()
    return [
        PositionBelow(region, one.writer, one.position.life, one.position.sequence)
        for region, one in stated
        if deepest_node(region, direct) == sender
    ]


def _list_direct(connection: Connection) -> set[str]:
    """Return the nodes that replicate to this one."""
    return set(connection.execute(select(_nodes.c.node)).scalars())


def _hand_over(connection: Connection, sender: str, below: Sequence[str], now: Instant, own: str) -> None:
    """Hand silent nodes over to the sender, a node that was set up between them and this node.

    From now on the sender is the home of their laboratories. What the sender has sent of these nodes so far was set
    aside. This node therefore forgets how much of the sender's log it has received, and ends the sender's stream. The
    sender then sends everything again. The nodes that were handed over subscribe again, because the sender does not
    know their cursors.
    """
    if not below:
        return
    silent = select(_nodes.c.node).where(_nodes.c.node.in_(below), _nodes.c.contact_time < now - MAX_SILENCE)
    if connection.execute(silent.limit(1)).first() is None:
        return
    # Commits that store laboratories take these locks in the same order, and lock rows of nodes by region after that.
    # The region of the sender contains the regions of the other nodes, so its row is the first.
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


_Stated = TypeVar("_Stated", NodeBelow, NodePosition)


def _below(sender: str, stated: Sequence[_Stated]) -> Iterator[tuple[str, _Stated]]:
    """Yield the statements that are about nodes below the sender, each with the region of its node."""
    for one in stated:
        try:
            region = parse_node(one.node)
        except HutongError:
            continue
        if region != sender and is_region(region) and within(region, sender):
            yield region, one
