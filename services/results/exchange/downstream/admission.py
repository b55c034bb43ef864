"""Admission of the nodes below. `access.permits` has already checked that the caller is the node that it names.

Each link leads from a region to a larger one that contains it. The links therefore form a tree without circles.
"""

from __future__ import annotations

from services.domain.nodes import node_between, parse_node_below
from services.results.exchange.downstream.store import DownstreamStore
from services.results.exchange.homes.find import deepest_node


class NodeAdmission:
    """Admits nodes whose regions lie in this node's region.

    A node that another node below this one covers is not admitted.
    """

    def __init__(self, jurisdiction: str, store: DownstreamStore) -> None:
        self._jurisdiction = jurisdiction
        self._store = store

    async def admit(self, node: str, field: str = "node") -> str:
        """Return the region of the calling node; `field` is the name of the request's field that names the node.

        Raises:
            InvalidArgument: the name is not a node's name.
            FailedPrecondition: NOT_AN_UPSTREAM, this node does not serve the caller.
            Unavailable: the database does not answer.
        """
        region = self.require_below(node, field)
        others = {one.region for one in await self._store.list_nodes() if one.retire_time is None} - {region}
        if between := deepest_node(region, others):
            raise node_between(region, between, self._jurisdiction)
        return region

    def require_below(self, node: str, field: str = "node") -> str:
        """Return the region of the calling node, which must lie in this node's region.

        Raises the errors of `admit`.
        """
        return parse_node_below(node, self._jurisdiction, field)
