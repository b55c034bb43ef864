"""The gRPC face of the exchange: wire ↔ domain, nothing else. The contract documents each RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hutong.results.v1.exchange_service_pb2 import (
    ListNodesRequest,
    ListNodesResponse,
    ReplicateRequest,
    ReplicateResponse,
)
from hutong.results.v1.exchange_service_pb2_grpc import ExchangeServiceServicer

from services.results.exchange.convert import node_to_proto
from services.results.exchange.intake import Intake
from services.results.exchange.store import ExchangeStore

Context = Any
"""grpc.aio.ServicerContext."""


class ExchangeServicer(ExchangeServiceServicer):
    """What the national node serves to the provinces."""

    def __init__(self, store: ExchangeStore, intake: Intake) -> None:
        self._store = store
        self._intake = intake

    async def Replicate(
        self, requests: AsyncIterator[ReplicateRequest], context: Context
    ) -> AsyncIterator[ReplicateResponse]:
        async for response in self._intake.receive(requests):
            yield response

    async def ListNodes(self, request: ListNodesRequest, context: Context) -> ListNodesResponse:
        return ListNodesResponse(nodes=[node_to_proto(node) for node in await self._store.list_nodes()])
