"""Retirement of nodes that do not come back. No decision is UNDETERMINED because a retired node is silent.

A retirement ends when the node connects again (`nodes`), or when an operator ends it.
"""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import Message
from hutong_texts import english
from sqlalchemy import Connection, select, update

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.names import format_node
from services.results.exchange import tables
from services.results.exchange.downstream.nodes import MAX_SILENCE, NOT_RETIRED, find_node
from services.results.exchange.model import Node
from services.storage.idempotency import IdempotentRequest, IdempotentWriter

M = TypeVar("M", bound=Message)

_nodes = tables.nodes


class NodeRetirements:
    """Retires and reinstates nodes."""

    def __init__(self, writer: IdempotentWriter) -> None:
        self._writer = writer

    async def retire(self, region: str, reason: str, actor: str | None, once: IdempotentRequest[Node, M]) -> M:
        """Retire a node. A node that is retired already stays as it is.

        Raises:
            NotFound: the node never replicated to this one.
            FailedPrecondition: NODE_NOT_SILENT, the node sent something in the last minute.
        """

        def run(connection: Connection) -> Node:
            node = _lock_node(connection, region)
            if node.retire_time is None:
                if node.contact_time >= once.now - MAX_SILENCE:
                    raise _not_silent(region)
                return _set(connection, node, {"retire_time": once.now, "retire_reason": reason, "retire_actor": actor})
            return node

        return await self._writer.write(once, run)

    async def reinstate(self, region: str, once: IdempotentRequest[Node, M]) -> M:
        """End the retirement of a node. Raises NotFound if the node never replicated to this one."""

        def run(connection: Connection) -> Node:
            return _set(connection, _lock_node(connection, region), NOT_RETIRED)

        return await self._writer.write(once, run)


def _lock_node(connection: Connection, region: str) -> Node:
    connection.execute(select(_nodes.c.node).where(_nodes.c.node == region).with_for_update())
    node = find_node(connection, region)
    if node is None:
        raise NotFound.resource(format_node(region))
    return node


def _set(connection: Connection, node: Node, values: dict[str, Any]) -> Node:
    connection.execute(update(_nodes).where(_nodes.c.node == node.region).values(values))
    return node._replace(**values)


def _not_silent(region: str) -> FailedPrecondition:
    name = format_node(region)
    return FailedPrecondition(
        "NODE_NOT_SILENT",
        english("{name} has sent something in the last minute; stop it first", name=name),
        metadata={"node": name},
    )
