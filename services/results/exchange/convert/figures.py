"""Converts figures, which are counts that a node keeps of a node that replicates to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hutong.exchange.v1 import node_pb2

from services.domain.instant import SECOND, Span, from_duration
from services.results.exchange.model import NodeFigures

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_SKEW: Span = 9_223_372_036 * SECOND
"""The largest clock skew that the contract lets a node state, some 292 years in either direction."""
_NOT_ITS_OWN = node_pb2.SET_ASIDE_REASON_NOT_ITS_OWN
_SECOND_REGISTRATION = node_pb2.SET_ASIDE_REASON_SECOND_REGISTRATION


def list_set_aside(figures: NodeFigures) -> Iterator[node_pb2.SetAside]:
    """Yield how many changes were set aside, by reason. Reasons that never occurred are left out."""
    for reason, count in (
        (_NOT_ITS_OWN, figures.not_its_own_count),
        (_SECOND_REGISTRATION, figures.second_registration_count),
    ):
        if count:
            yield node_pb2.SetAside(reason=reason, count=count)


def figures_to_proto(figures: NodeFigures) -> node_pb2.NodeFigures:
    """Return the message for figures. A clock skew beyond LARGEST_SKEW is stated as LARGEST_SKEW."""
    message = node_pb2.NodeFigures(conflict_count=figures.conflict_count, set_aside=list_set_aside(figures))
    message.clock_skew.FromMicroseconds(max(-LARGEST_SKEW, min(figures.clock_skew, LARGEST_SKEW)))
    return message


def figures_from_proto(message: node_pb2.NodeFigures) -> NodeFigures:
    """Return the figures of a message."""
    counts = {one.reason: one.count for one in message.set_aside}
    return NodeFigures(
        from_duration(message.clock_skew),
        message.conflict_count,
        counts.get(_NOT_ITS_OWN, 0),
        counts.get(_SECOND_REGISTRATION, 0),
    )
