"""Asks this node's Results which nodes below an operator has retired."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import structlog
from hutong.exchange.v1.exchange_service_pb2 import ListNodesRequest
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub

from services.domain.names import parse_node
from services.runtime.client.channels import Connector
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.configuration.settings import Settings
from services.runtime.page_tokens import MAX_PAGE_SIZE

if TYPE_CHECKING:
    from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceAsyncStub

ANSWER_SECONDS = 1.0
"""How long Results may take for a page, in seconds. Meanwhile the caller of this service waits."""

_log = structlog.get_logger(__name__)


class RetiredNodes:
    """The nodes below that are retired, according to this node's Results."""

    def __init__(self, settings: Settings) -> None:
        self._stub: ReconnectingStub[ExchangeServiceAsyncStub] = ReconnectingStub(
            Connector(settings.results.address, settings), ExchangeServiceStub
        )

    async def read(self) -> frozenset[str]:
        """Return the regions of the retired nodes. If Results does not answer, no node counts as retired."""
        stub = self._stub.stub
        retired: set[str] = set()
        request = ListNodesRequest(page_size=MAX_PAGE_SIZE)
        try:
            while True:
                page = await stub.ListNodes(request, timeout=ANSWER_SECONDS)
                retired |= {parse_node(node.name) for node in page.nodes if node.HasField("retire_time")}
                if not page.next_page_token:
                    return frozenset(retired)
                request.page_token = page.next_page_token
        except grpc.aio.AioRpcError as error:
            self._stub.renew(stub)
            _log.warning("retired nodes are not known", why=error.code().name)
            return frozenset()

    async def close(self) -> None:
        """Close the connection."""
        await self._stub.close()
