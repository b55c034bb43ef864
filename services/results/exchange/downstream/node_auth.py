"""Authentication of the nodes that call the nation."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from services.domain.errors import FailedPrecondition, PermissionDenied
from services.domain.names import format_node, parse_node
from services.domain.region import NATION, is_region

Context = Any
"""grpc.aio.ServicerContext."""


class NodeAuthenticator:
    """Admits the nodes of provinces to the national node. Over TLS each needs a certificate that names it."""

    def __init__(self, jurisdiction: str) -> None:
        self._jurisdiction = jurisdiction

    def admit(self, context: Context, node: str, field: str = "node") -> str:
        """Return the region of the calling node; `field` is the request's field that names the node.

        Raises:
            InvalidArgument: the name is no node's.
            FailedPrecondition: NOT_AN_UPSTREAM, this is not the national node, or the caller is no province's node.
            PermissionDenied: NOT_PERMITTED, the caller's certificate does not name that node.
        """
        region = parse_node(node, field)
        if self._jurisdiction != NATION:
            here = format_node(self._jurisdiction)
            raise FailedPrecondition("NOT_AN_UPSTREAM", "this is not the national node", metadata={"node": here})
        if region == NATION or not is_region(region):
            raise FailedPrecondition("NOT_AN_UPSTREAM", "the caller is not a province's node", metadata={"node": node})
        _check_certificate(context.auth_context(), region, node)
        return region


def _is_uri_of(name: str, region: str) -> bool:
    """Return whether a name is a URI whose whole path is the node's name."""
    return "://" in name and urlsplit(name).path == f"/{format_node(region)}"


def _check_certificate(shown: dict[str, list[bytes]], region: str, node: str) -> None:
    if b"ssl" not in shown.get("transport_security_type", ()):
        # Plain text is served on loopback only.
        return
    names = [name.decode(errors="replace") for name in shown.get("x509_subject_alternative_name", ())]
    if not any(name.startswith(f"{region}.nodes.") or _is_uri_of(name, region) for name in names):
        raise PermissionDenied(
            "NOT_PERMITTED",
            "the caller's certificate does not name the node it speaks for",
            metadata={"resource": node},
        )
