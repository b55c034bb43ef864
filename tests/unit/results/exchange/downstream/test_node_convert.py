"""Tests the statements of ListNodes about a node: how far it is behind, and since when it is silent."""

from __future__ import annotations

from hutong.exchange.v1 import node_pb2
from hutong.exchange.v1.node_pb2 import SET_ASIDE_REASON_SECOND_REGISTRATION
from hutong.results.v1.lookup_pb2 import SOURCE_STATE_OK, SOURCE_STATE_UNAVAILABLE

from services.domain.instant import HOUR, MINUTE, SECOND, Instant, from_duration, from_timestamp
from services.results.exchange.downstream.node_convert import node_to_proto, relayed_to_proto
from services.results.exchange.downstream.relayed import RelayedNode
from services.results.exchange.model import Node, NodeFigures
from tests.support.results.factories import NOW

HENAN = Node("410000", NOW - 2 * SECOND, NOW - SECOND, 0, 0, 0)


def silence(message: node_pb2.Node) -> Instant | None:
    return from_timestamp(message.silence_start_time) if message.HasField("silence_start_time") else None


def relayed(state: int, contact: Instant | None, *, below: Node = HENAN) -> node_pb2.Node:
    node = RelayedNode("410100", "410000", state, NOW - HOUR, contact, 3)  # type: ignore[arg-type]
    return relayed_to_proto(node, below, NOW)


def test_a_node_that_sends_is_not_silent() -> None:
    """The lag of a node is the age of what is known of it. A clock that is ahead gives no negative lag."""
    message = node_to_proto(HENAN, NOW)
    assert (from_duration(message.lag), silence(message)) == (2 * SECOND, None)
    assert from_duration(node_to_proto(HENAN._replace(as_of_time=NOW + MINUTE), NOW).lag) == 0
    behind = node_to_proto(HENAN._replace(as_of_time=NOW - HOUR), NOW)
    assert (behind.state, from_duration(behind.lag), silence(behind)) == (SOURCE_STATE_UNAVAILABLE, HOUR, None)


def test_a_node_is_silent_since_its_last_frame() -> None:
    """A retired node is not silent. A node that never sent a checkpoint has no lag."""
    last = NOW - 2 * MINUTE
    message = node_to_proto(HENAN._replace(contact_time=last, as_of_time=None), NOW)
    assert (message.HasField("lag"), silence(message)) == (False, last)
    assert silence(node_to_proto(HENAN._replace(contact_time=last, retire_time=NOW), NOW)) is None


def test_a_node_at_a_greater_depth_is_silent_too() -> None:
    """If the node between says so, or is silent itself; not because the clock of that node is behind."""
    last = NOW - 2 * MINUTE
    assert silence(relayed(SOURCE_STATE_UNAVAILABLE, last)) == last
    assert silence(relayed(SOURCE_STATE_UNAVAILABLE, None)) is None
    fresh = RelayedNode("410100", "410000", SOURCE_STATE_OK, NOW - SECOND, last, 0)
    assert silence(relayed_to_proto(fresh, HENAN, NOW)) is None
    assert silence(relayed_to_proto(fresh, HENAN._replace(contact_time=last), NOW)) == last
    assert from_duration(relayed(SOURCE_STATE_OK, NOW).lag) == HOUR


def test_a_node_at_a_greater_depth_has_its_figures_and_path() -> None:
    """Without stated figures the node has no skew, which differs from a skew of zero."""
    county = RelayedNode(
        "410105", "410000", SOURCE_STATE_OK, NOW, NOW, 0, NodeFigures(-2 * SECOND, 3, 0, 1), ("410100",)
    )
    message = relayed_to_proto(county, HENAN, NOW)
    assert (from_duration(message.clock_skew), message.conflict_count) == (-2 * SECOND, 3)
    assert list(message.set_aside) == [node_pb2.SetAside(reason=SET_ASIDE_REASON_SECOND_REGISTRATION, count=1)]
    assert list(message.path) == ["nodes/410000", "nodes/410100"]
    unknown = relayed(SOURCE_STATE_OK, NOW)
    assert (unknown.HasField("clock_skew"), list(unknown.path)) == (False, ["nodes/410000"])
    assert node_to_proto(HENAN, NOW).HasField("clock_skew")
    assert list(node_to_proto(HENAN, NOW).path) == []
