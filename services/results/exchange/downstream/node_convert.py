"""Converts a node, as a node above it knows it, to its message."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.exchange.v1 import node_pb2
from hutong.results.v1.lookup_pb2 import SOURCE_STATE_UNAVAILABLE

from services.domain.instant import Instant, optional_timestamp, set_timestamp, to_duration, to_timestamp
from services.domain.names import format_node
from services.results.exchange.convert.figures import list_set_aside
from services.results.exchange.downstream.nodes import MAX_SILENCE
from services.results.exchange.downstream.relayed import RelayedNode
from services.results.exchange.downstream.states import state_of, state_of_relayed
from services.results.exchange.model import Node, NodeFigures, NodeState


def node_to_proto(node: Node, now: Instant, *, with_actors: bool = False) -> node_pb2.Node:
    """Return the message for a node that replicates to this one."""
    state = state_of(node, now)
    message = node_pb2.Node(
        name=format_node(node.region),
        contact_time=to_timestamp(node.contact_time),
        backlog=node.backlog,
        retire_time=optional_timestamp(node.retire_time),
        retire_reason=node.retire_reason,
        retire_actor=node.retire_actor or "" if with_actors else "",
        state=state.state,
        lag=_lag(state, now),
        silence_start_time=_silence_start(state, now),
    )
    if node.as_of_time is not None:
        set_timestamp(message.as_of_time, node.as_of_time)
    _set_figures(message, node.figures)
    return message


def relayed_to_proto(node: RelayedNode, relaying: Node, now: Instant) -> node_pb2.Node:
    """Return the message for a node at a greater depth.

    The message does not say who retired the node, because only the node directly above that node knows this.
    """
    state = state_of_relayed(node, relaying, now)
    message = node_pb2.Node(
        name=format_node(node.region),
        as_of_time=optional_timestamp(node.as_of_time),
        contact_time=optional_timestamp(node.contact_time),
        backlog=node.backlog,
        state=state.state,
        relaying_node=format_node(node.relaying_node),
        path=map(format_node, state.path),
        retire_time=optional_timestamp(node.retire_time),
        retire_reason=node.retire_reason,
        lag=_lag(state, now),
        silence_start_time=_silence_start(state, now),
    )
    if node.figures is not None:
        _set_figures(message, node.figures)
    return message


def _set_figures(message: node_pb2.Node, figures: NodeFigures) -> None:
    message.clock_skew.FromMicroseconds(figures.clock_skew)
    message.conflict_count = figures.conflict_count
    message.set_aside.extend(list_set_aside(figures))


def _lag(node: NodeState, now: Instant) -> Duration | None:
    return None if node.as_of_time is None else to_duration(now - node.as_of_time)


def _silence_start(node: NodeState, now: Instant) -> Timestamp | None:
    """Return when a silent node last sent something; None if it is not silent or not known."""
    # The clock of the node between may be behind. A node whose stated state is OK is therefore never called silent.
    is_silent = node.state == SOURCE_STATE_UNAVAILABLE
    if not is_silent or node.contact_time is None or node.contact_time >= now - MAX_SILENCE:
        return None
    return to_timestamp(node.contact_time)
