"""The gRPC face of the exchange: wire ↔ domain, nothing else. The contract documents each RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hutong.results.v1.exchange_service_pb2 import (
    FollowSubjectsRequest,
    FollowSubjectsResponse,
    ListNodesRequest,
    ListNodesResponse,
    LookupSubjectsRequest,
    LookupSubjectsResponse,
    ReplicateRequest,
    ReplicateResponse,
    WatchNoticesRequest,
    WatchNoticesResponse,
)
from hutong.results.v1.exchange_service_pb2_grpc import ExchangeServiceServicer

from services.results.exchange.convert import node_to_proto
from services.results.exchange.downstream.node_auth import NodeAuthenticator
from services.results.exchange.downstream.notice_stream import NoticeStream
from services.results.exchange.downstream.receiver import ReplicationReceiver
from services.results.exchange.downstream.store import DownstreamStore
from services.results.exchange.downstream.subject_lookup import SubjectLookup

Context = Any
"""grpc.aio.ServicerContext."""


class ExchangeServicer(ExchangeServiceServicer):
    """What the national node serves to the provinces."""

    def __init__(
        self,
        door: NodeAuthenticator,
        store: DownstreamStore,
        intake: ReplicationReceiver,
        notices: NoticeStream,
        subjects: SubjectLookup,
    ) -> None:
        self._door = door
        self._store = store
        self._intake = intake
        self._notices = notices
        self._subjects = subjects

    async def Replicate(
        self, requests: AsyncIterator[ReplicateRequest], context: Context
    ) -> AsyncIterator[ReplicateResponse]:
        async for response in self._intake.receive(
            requests, lambda node: self._door.admit(context, node, "start.node")
        ):
            yield response

    async def LookupSubjects(self, request: LookupSubjectsRequest, context: Context) -> LookupSubjectsResponse:
        self._door.admit(context, request.node)
        return await self._subjects.look_up(request)

    async def FollowSubjects(self, request: FollowSubjectsRequest, context: Context) -> FollowSubjectsResponse:
        self._door.admit(context, request.node)
        return await self._notices.follow(request)

    async def WatchNotices(self, request: WatchNoticesRequest, context: Context) -> AsyncIterator[WatchNoticesResponse]:
        self._door.admit(context, request.node)
        async for message in self._notices.watch(request):
            yield message

    async def ListNodes(self, request: ListNodesRequest, context: Context) -> ListNodesResponse:
        return ListNodesResponse(nodes=[node_to_proto(node) for node in await self._store.list_nodes()])
