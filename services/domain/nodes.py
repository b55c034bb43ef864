"""The nodes that a node serves. Their regions lie in this node's region, with no third node in between."""

from __future__ import annotations

from hutong_texts import english

from services.domain.errors import FailedPrecondition
from services.domain.names import format_node, parse_node
from services.domain.region import is_region, within


def parse_node_below(name: str, own: str, field: str = "node") -> str:
    """Return the region of a node that calls this node. The region must lie in this node's region, `own`.

    `field` is the field of the request that names the calling node.

    Raises:
        InvalidArgument: the name is not a node's name.
        FailedPrecondition: NOT_AN_UPSTREAM, the calling node does not lie below this node.
    """
    region = parse_node(name, field)
    if region == own or not is_region(region) or not within(region, own):
        here = format_node(own)
        text = english("{node} does not lie below {here}", node=name, here=here)
        raise FailedPrecondition("NOT_AN_UPSTREAM", text, metadata={"node": here})
    return region


def node_between(region: str, between: str, own: str) -> FailedPrecondition:
    """Return the error for a calling node if a third node covers it. All nodes are given by their regions."""
    third = format_node(between)
    text = english(
        "{between} is between {node} and {here}", between=third, node=format_node(region), here=format_node(own)
    )
    return FailedPrecondition("NOT_AN_UPSTREAM", text, metadata={"node": third})
