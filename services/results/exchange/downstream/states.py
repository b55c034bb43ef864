"""The state of each node below this one, as look-ups and ListNodes return it."""

from __future__ import annotations

from collections.abc import Iterable

from hutong.results.v1.lookup_pb2 import (
    SOURCE_STATE_OK,
    SOURCE_STATE_RETIRED,
    SOURCE_STATE_UNAVAILABLE,
    SourceState,
)

from services.domain.instant import MINUTE, Instant, Span
from services.results.exchange.downstream.nodes import MAX_SILENCE
from services.results.exchange.downstream.relayed import RelayedNode
from services.results.exchange.model import Node, NodeState

MAX_LAG: Span = 5 * MINUTE
"""A node that is further behind is unavailable, because the results that it has not sent yet are unknown here."""


def state_of(node: Node, now: Instant) -> NodeState:
    """Return the state of a node that replicates to this one."""
    # A node's clock may be ahead. No answer is complete beyond the current instant.
    as_of_time = None if node.as_of_time is None else min(node.as_of_time, now)
    state: SourceState.ValueType = SOURCE_STATE_OK
    if node.contact_time < now - MAX_SILENCE or as_of_time is None or as_of_time < now - MAX_LAG:
        state = SOURCE_STATE_UNAVAILABLE if node.retire_time is None else SOURCE_STATE_RETIRED
    retirement = (node.retire_time, node.retire_reason)
    return NodeState(node.region, state, as_of_time, node.contact_time, node.backlog, node.figures, (), *retirement)


def state_of_relayed(node: RelayedNode, relaying: Node, now: Instant) -> NodeState:
    """Return the state of a node at a greater depth.

    The state is OK only if the state of the node that relays it is OK too.
    """
    as_of_time = None if node.as_of_time is None else min(node.as_of_time, now)
    state, state_of_relaying = node.state, state_of(relaying, now).state
    if state_of_relaying == SOURCE_STATE_RETIRED or state == SOURCE_STATE_OK:
        state = state_of_relaying
    if state == SOURCE_STATE_OK and (as_of_time is None or as_of_time < now - MAX_LAG):
        state = SOURCE_STATE_UNAVAILABLE
    path = (node.relaying_node, *node.path)
    retirement = (node.retire_time, node.retire_reason)
    return NodeState(node.region, state, as_of_time, node.contact_time, node.backlog, node.figures, path, *retirement)


def states_below(nodes: Iterable[Node], relayed: Iterable[RelayedNode], now: Instant) -> list[NodeState]:
    """Return the states of all nodes below: those that replicate to this one, then those at a greater depth."""
    direct = {node.region: node for node in nodes}
    return [
        *(state_of(node, now) for node in direct.values()),
        *(state_of_relayed(one, direct[one.relaying_node], now) for one in relayed if one.relaying_node in direct),
    ]
