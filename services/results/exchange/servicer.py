"""ExchangeService at the national node. The contract documents each RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hutong.exchange.v1.exchange_service_pb2 import (
    ListNodesRequest,
    ListNodesResponse,
    LookupSubjectsRequest,
    LookupSubjectsResponse,
    ReplicateRequest,
    ReplicateResponse,
    SubscribeSubjectsRequest,
    SubscribeSubjectsResponse,
    WatchNotificationsRequest,
    WatchNotificationsResponse,
)
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceServicer

from services.results.exchange.downstream.admission import NodeAdmission
from services.results.exchange.downstream.node_convert import node_to_proto
from services.results.exchange.downstream.notification_stream import NotificationStream
from services.results.exchange.downstream.receiver import ReplicationReceiver
from services.results.exchange.downstream.store import DownstreamStore
from services.results.exchange.downstream.subject_lookup import SubjectLookup
from services.runtime.page_tokens import PageTokens, page_size

Context = Any
"""grpc.aio.ServicerContext."""


class ExchangeServicer(ExchangeServiceServicer):
    """Serves the nodes of provinces. It only converts, admits and calls the handlers."""

    def __init__(
        self,
        admission: NodeAdmission,
        store: DownstreamStore,
        receiver: ReplicationReceiver,
        notifications: NotificationStream,
        subjects: SubjectLookup,
        tokens: PageTokens,
    ) -> None:
        self._tokens = tokens
        self._admission = admission
        self._store = store
        self._receiver = receiver
        self._notifications = notifications
        self._subjects = subjects

    async def Replicate(
        self, requests: AsyncIterator[ReplicateRequest], context: Context
    ) -> AsyncIterator[ReplicateResponse]:
        async for response in self._receiver.receive(requests, lambda node: self._admission.admit(node, "start.node")):
            yield response

    async def LookupSubjects(self, request: LookupSubjectsRequest, context: Context) -> LookupSubjectsResponse:
        self._admission.admit(request.node)
        return await self._subjects.look_up(request)

    async def SubscribeSubjects(self, request: SubscribeSubjectsRequest, context: Context) -> SubscribeSubjectsResponse:
        self._admission.admit(request.node)
        return await self._notifications.subscribe(request)

    async def WatchNotifications(
        self, request: WatchNotificationsRequest, context: Context
    ) -> AsyncIterator[WatchNotificationsResponse]:
        self._admission.admit(request.node)
        async for message in self._notifications.watch(request):
            yield message

    async def ListNodes(self, request: ListNodesRequest, context: Context) -> ListNodesResponse:
        position = self._tokens.position(request, (str,))
        size = page_size(request.page_size)
        found = await self._store.page_nodes(position[0] if position else "", size + 1)
        shown = found[:size]
        token = self._tokens.issue(request, [shown[-1].region]) if len(found) > size else ""
        return ListNodesResponse(nodes=map(node_to_proto, shown), next_page_token=token)
