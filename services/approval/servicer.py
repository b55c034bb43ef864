"""ApprovalService. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.approval.v1.approval_service_pb2 import (
    ApproveChangeRequest,
    ApproveChangeResponse,
    EndEmergencyGrantRequest,
    EndEmergencyGrantResponse,
    GetPendingChangeRequest,
    GetPendingChangeResponse,
    ListEmergencyGrantsRequest,
    ListEmergencyGrantsResponse,
    ListPendingChangesRequest,
    ListPendingChangesResponse,
    OpenEmergencyGrantRequest,
    OpenEmergencyGrantResponse,
    RejectChangeRequest,
    RejectChangeResponse,
    ReviewEmergencyGrantRequest,
    ReviewEmergencyGrantResponse,
)
from hutong.approval.v1.approval_service_pb2_grpc import ApprovalServiceServicer, add_ApprovalServiceServicer_to_server

from services.approval.approvals import Approvals
from services.approval.grants import EmergencyGrants
from services.domain.fields import known_region
from services.domain.names import parse_lab
from services.domain.subject import mask_free_text
from services.runtime.page_tokens import PageTokens, rows_to_read
from services.runtime.server.service import Registration

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class ApprovalServicer(ApprovalServiceServicer):
    """Lists, approves and rejects the pending changes of one service, and keeps its emergency grants."""

    def __init__(self, approvals: Approvals, grants: EmergencyGrants, tokens: PageTokens) -> None:
        self._approvals = approvals
        self._grants = grants
        self._tokens = tokens

    async def ListPendingChanges(
        self, request: ListPendingChangesRequest, context: Context
    ) -> ListPendingChangesResponse:
        if request.lab:
            parse_lab(request.lab, "lab")
        position = self._tokens.position(request, (str,))
        found = await self._approvals.list_for_caller(
            known_region(request.region, "region") if request.region else "",
            request.lab,
            include_decided=request.include_decided,
            before=position[0] if position else "",
            limit=rows_to_read(request.page_size),
        )
        shown, token = self._tokens.page(request, found, lambda change: [change.change_id])
        return ListPendingChangesResponse(pending_changes=map(self._approvals.to_proto, shown), next_page_token=token)

    async def GetPendingChange(self, request: GetPendingChangeRequest, context: Context) -> GetPendingChangeResponse:
        change = await self._approvals.show(request.name)
        return GetPendingChangeResponse(pending_change=self._approvals.to_proto(change))

    async def ApproveChange(self, request: ApproveChangeRequest, context: Context) -> ApproveChangeResponse:
        change = await self._approvals.approve(request.name)
        return ApproveChangeResponse(
            pending_change=self._approvals.to_proto(change), consistency_token=change.consistency_token
        )

    async def RejectChange(self, request: RejectChangeRequest, context: Context) -> RejectChangeResponse:
        change = await self._approvals.reject(request.name, mask_free_text(request.reason))
        return RejectChangeResponse(pending_change=self._approvals.to_proto(change))

    async def OpenEmergencyGrant(
        self, request: OpenEmergencyGrantRequest, context: Context
    ) -> OpenEmergencyGrantResponse:
        grant = await self._grants.open(request)
        return OpenEmergencyGrantResponse(emergency_grant=self._grants.to_proto(grant))

    async def EndEmergencyGrant(self, request: EndEmergencyGrantRequest, context: Context) -> EndEmergencyGrantResponse:
        grant = await self._grants.end(request.name)
        return EndEmergencyGrantResponse(emergency_grant=self._grants.to_proto(grant))

    async def ReviewEmergencyGrant(
        self, request: ReviewEmergencyGrantRequest, context: Context
    ) -> ReviewEmergencyGrantResponse:
        grant = await self._grants.review(request.name, request.note)
        return ReviewEmergencyGrantResponse(emergency_grant=self._grants.to_proto(grant))

    async def ListEmergencyGrants(
        self, request: ListEmergencyGrantsRequest, context: Context
    ) -> ListEmergencyGrantsResponse:
        position = self._tokens.position(request, (str,))
        found = await self._grants.list_for_caller(
            known_region(request.region, "region") if request.region else "",
            include_reviewed=request.include_reviewed,
            before=position[0] if position else "",
            limit=rows_to_read(request.page_size),
        )
        shown, token = self._tokens.page(request, found, lambda grant: [grant.grant_id])
        return ListEmergencyGrantsResponse(emergency_grants=map(self._grants.to_proto, shown), next_page_token=token)


def approval_registration(servicer: ApprovalServicer) -> Registration:
    """Return the registration of a service's ApprovalService."""
    return Registration("hutong.approval.v1.ApprovalService", add_ApprovalServiceServicer_to_server, servicer)
