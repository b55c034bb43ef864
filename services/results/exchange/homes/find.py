"""The home of a laboratory: the node that may speak for it (docs/architecture.md, "Authority over content").

These functions are pure. `register` reads and stores what they need. For this node, the home is always this node itself
or a node that replicates to it. If the laboratory's home is a node at a greater depth, this node records the node in
between as the home.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from services.domain.region import NATION, ancestry

_AUTHORITY = slice(2, 8)
"""Characters 3 to 8 of a GB 32100 code: the region of the authority that registered the organisation."""


class Home(NamedTuple):
    """The home of a laboratory.

    Attributes:
        node: the region of the home node; empty if no node is the home.
        is_firm: whether the laboratory's code or this node's own register determines the home. A home that is not firm
            is provisional. It is the only node that has registered the laboratory.
    """

    node: str
    is_firm: bool


def find_home(
    uscc: str, nodes: Collection[str], recorded_region: str | None, registrants: Collection[str], own: str = NATION
) -> Home:
    """Return the home of a laboratory.

    Args:
        uscc: the laboratory's GB 32100 code.
        nodes: the regions of the nodes that replicate to this one.
        recorded_region: the region under which this node's own register lists the laboratory; None if not listed.
        registrants: the nodes that have registered the laboratory.
        own: the region of this node.
    """
    if recorded_region is not None:
        return Home(deepest_node(recorded_region, nodes) or own, is_firm=True)
    # The nation's region contains every code, so it determines no home.
    if by_code := deepest_node(uscc[_AUTHORITY], {*nodes, own}):
        return Home(by_code, is_firm=True)
    if len(set(registrants)) == 1:
        (only,) = set(registrants)
        return Home(only, is_firm=False)
    return Home("", is_firm=False)


def deepest_node(region: str, nodes: Collection[str]) -> str:
    """Return the deepest of `nodes`, other than the nation, whose region contains `region`; empty if there is none.

    A code that is in no table of regions still lies in a province, because its first two digits name the province.
    """
    return next((code for code in ancestry(region) if code in nodes and code != NATION), "")
