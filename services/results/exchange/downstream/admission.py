"""Admission of the nodes that call the nation. `access.permits` has already checked that the caller is a node."""

from __future__ import annotations

from hutong_texts import english

from services.domain.errors import FailedPrecondition
from services.domain.names import format_node, parse_node
from services.domain.region import NATION, is_region


class NodeAdmission:
    """Admits the nodes of provinces to the national node."""

    def __init__(self, jurisdiction: str) -> None:
        self._jurisdiction = jurisdiction

    def admit(self, node: str, field: str = "node") -> str:
        """Return the region of the calling node; `field` is the request's field that names the node.

        Raises:
            InvalidArgument: the name is not a node's name.
            FailedPrecondition: NOT_AN_UPSTREAM, this node is not the nation, or the caller is not a province's node.
        """
        region = parse_node(node, field)
        if self._jurisdiction != NATION:
            here = format_node(self._jurisdiction)
            raise FailedPrecondition(
                "NOT_AN_UPSTREAM", english("{here} is not the national node", here=here), metadata={"node": here}
            )
        if region == NATION or not is_region(region):
            raise FailedPrecondition(
                "NOT_AN_UPSTREAM", english("the caller is not a province's node"), metadata={"node": node}
            )
        return region
