"""ExchangeService, and InternalAuditService. The contract documents each RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from hutong.exchange.v1.exchange_service_pb2 import (
    AdmitNodeRequest,
    AdmitNodeResponse,
    HeldAuditHead,
    ListAuditHeadsRequest,
    ListAuditHeadsResponse,
    ListNodesRequest,
    ListNodesResponse,
    LookupSubjectsRequest,
    LookupSubjectsResponse,
    ReinstateNodeRequest,
    ReinstateNodeResponse,
    ReplicateRequest,
    ReplicateResponse,
    RetireNodeRequest,
    RetireNodeResponse,
    SubscribeSubjectsRequest,
    SubscribeSubjectsResponse,
    WatchNotificationsRequest,
    WatchNotificationsResponse,
)
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceServicer
from hutong.results.internal.v1.internal_audit_service_pb2 import ReportAuditHeadsRequest, ReportAuditHeadsResponse
from hutong.results.internal.v1.internal_audit_service_pb2_grpc import InternalAuditServiceServicer

from services.domain.instant import to_timestamp
from services.domain.names import format_node, parse_node
from services.domain.subject import mask_free_text
from services.results.exchange.downstream.admission import NodeAdmission
from services.results.exchange.downstream.audit_heads import HeadPosition
from services.results.exchange.downstream.node_convert import node_to_proto, relayed_to_proto
from services.results.exchange.downstream.notifications.stream import NotificationStream
from services.results.exchange.downstream.receiver import ReplicationReceiver
from services.results.exchange.downstream.retirement import NodeRetirements
from services.results.exchange.downstream.store import DownstreamStore
from services.results.exchange.downstream.subject_lookup import SubjectLookup
from services.results.exchange.model import Node
from services.results.exchange.upstream.store import UpstreamStore
from services.runtime.call import current_actor, may_see_actors
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens, rows_to_read
from services.storage.idempotency import IdempotentRequest

Context = Any
"""grpc.aio.ServicerContext."""


class ExchangeServicer(ExchangeServiceServicer):
    """Serves the nodes below. It only converts, admits and calls the handlers."""

    def __init__(
        self,
        admission: NodeAdmission,
        store: DownstreamStore,
        receiver: ReplicationReceiver,
        notifications: NotificationStream,
        subjects: SubjectLookup,
        retirements: NodeRetirements,
        tokens: PageTokens,
        clock: Clock,
        jurisdiction: str,
    ) -> None:
        self._node = format_node(jurisdiction)
        self._retirements = retirements
        self._tokens = tokens
        self._clock = clock
        self._admission = admission
        self._store = store
        self._receiver = receiver
        self._notifications = notifications
        self._subjects = subjects

    async def AdmitNode(self, request: AdmitNodeRequest, context: Context) -> AdmitNodeResponse:
        await self._admission.admit(request.node)
        return AdmitNodeResponse(node=self._node)

    async def Replicate(
        self, requests: AsyncIterator[ReplicateRequest], context: Context
    ) -> AsyncIterator[ReplicateResponse]:
        admit = partial(self._admission.admit, field="start.node")
        async for response in self._receiver.receive(requests, admit):
            yield response

    async def LookupSubjects(self, request: LookupSubjectsRequest, context: Context) -> LookupSubjectsResponse:
        self._admission.require_below(request.node)
        return await self._subjects.look_up(request)

    async def SubscribeSubjects(self, request: SubscribeSubjectsRequest, context: Context) -> SubscribeSubjectsResponse:
        await self._admission.admit(request.node)
        return await self._notifications.subscribe(request)

    async def WatchNotifications(
        self, request: WatchNotificationsRequest, context: Context
    ) -> AsyncIterator[WatchNotificationsResponse]:
        await self._admission.admit(request.node)
        async for message in self._notifications.watch(request):
            yield message

    async def ListNodes(self, request: ListNodesRequest, context: Context) -> ListNodesResponse:
        position = self._tokens.position(request, (str,))
        found = await self._store.page_nodes(position[0] if position else "", rows_to_read(request.page_size))
        shown, token = self._tokens.page(
            request, found, lambda one: [one.region if isinstance(one, Node) else one[0].region]
        )
        actors, now = may_see_actors(), self._clock.now()
        nodes = [
            node_to_proto(one, now, with_actors=actors) if isinstance(one, Node) else relayed_to_proto(*one, now)
            for one in shown
        ]
        return ListNodesResponse(nodes=nodes, next_page_token=token)

    async def RetireNode(self, request: RetireNodeRequest, context: Context) -> RetireNodeResponse:
        now = self._clock.now()

        def encode(node: Node) -> RetireNodeResponse:
            return RetireNodeResponse(node=node_to_proto(node, now, with_actors=True))

        once = IdempotentRequest(request, RetireNodeResponse, encode, now)
        region = parse_node(request.name, "name")
        return await self._retirements.retire(region, mask_free_text(request.reason), current_actor(), once)

    async def ReinstateNode(self, request: ReinstateNodeRequest, context: Context) -> ReinstateNodeResponse:
        now = self._clock.now()

        def encode(node: Node) -> ReinstateNodeResponse:
            return ReinstateNodeResponse(node=node_to_proto(node, now, with_actors=True))

        once = IdempotentRequest(request, ReinstateNodeResponse, encode, now)
        return await self._retirements.reinstate(parse_node(request.name, "name"), once)

    async def ListAuditHeads(self, request: ListAuditHeadsRequest, context: Context) -> ListAuditHeadsResponse:
        stated = self._tokens.position(request, (str, int, int))
        after = HeadPosition() if stated is None else HeadPosition(*stated)
        node = parse_node(request.node)
        found = await self._store.page_audit_heads(node, after, rows_to_read(request.page_size))
        shown, token = self._tokens.page(
            request, found, lambda held: [held.head.service, int(held.head.chain), held.head.number]
        )
        heads = [HeldAuditHead(audit_head=held.head, receive_time=to_timestamp(held.receive_time)) for held in shown]
        return ListAuditHeadsResponse(audit_heads=heads, next_page_token=token)


class InternalAuditServicer(InternalAuditServiceServicer):
    """Takes the heads of the audits of the node's other services, which are sent to the node above."""

    def __init__(self, store: UpstreamStore) -> None:
        self._store = store

    async def ReportAuditHeads(self, request: ReportAuditHeadsRequest, context: Context) -> ReportAuditHeadsResponse:
        await self._store.keep_audit_heads(request.audit_heads)
        return ReportAuditHeadsResponse()
