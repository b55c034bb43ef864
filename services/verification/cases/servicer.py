"""EvidenceCaseService: lists, assigns and concludes cases. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.verification.v1.evidence_case_service_pb2 import (
    AssignCaseRequest,
    AssignCaseResponse,
    ConcludeCaseRequest,
    ConcludeCaseResponse,
    GetCaseRequest,
    GetCaseResponse,
    ListCasesRequest,
    ListCasesResponse,
)
from hutong.verification.v1.evidence_case_service_pb2_grpc import EvidenceCaseServiceServicer
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.fields import known_region
from services.domain.names import parse_case, parse_lab
from services.domain.subject import mask_free_text
from services.runtime.call import current_actor
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens, rows_to_read
from services.storage.idempotency import IdempotentRequest
from services.verification.cases.convert import case_to_proto
from services.verification.cases.model import EvidenceCase
from services.verification.cases.store import CaseQuery, CaseStore

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class EvidenceCaseServicer(EvidenceCaseServiceServicer):
    """Lists, assigns and concludes cases."""

    def __init__(self, store: CaseStore, tokens: PageTokens, clock: Clock) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock

    async def ListCases(self, request: ListCasesRequest, context: Context) -> ListCasesResponse:
        position = self._tokens.position(request, (str,))
        query = CaseQuery(
            known_region(request.region, "region") if request.region else "",
            tuple(request.states),
            tuple(request.kinds),
            tuple(request.findings),
            parse_lab(request.lab, "lab") if request.lab else "",
            request.assignee,
        )
        found = await self._store.list_cases(query, position[0] if position else "", rows_to_read(request.page_size))
        shown, token = self._tokens.page(request, found, lambda case: [case.uuid])
        return ListCasesResponse(evidence_cases=map(case_to_proto, shown), next_page_token=token)

    async def GetCase(self, request: GetCaseRequest, context: Context) -> GetCaseResponse:
        return GetCaseResponse(evidence_case=case_to_proto(await self._store.get_case(parse_case(request.name))))

    async def AssignCase(self, request: AssignCaseRequest, context: Context) -> AssignCaseResponse:
        actor = current_actor() or ""
        assignee = request.assignee or actor
        if not assignee:
            raise InvalidArgument.field("assignee", english("is required, because the caller has no name"))

        def encode(case: EvidenceCase) -> AssignCaseResponse:
            return AssignCaseResponse(evidence_case=case_to_proto(case))

        once = IdempotentRequest(request, AssignCaseResponse, encode, self._clock.now())
        return await self._store.assign(parse_case(request.name), assignee, actor, once)

    async def ConcludeCase(self, request: ConcludeCaseRequest, context: Context) -> ConcludeCaseResponse:
        def encode(case: EvidenceCase) -> ConcludeCaseResponse:
            return ConcludeCaseResponse(evidence_case=case_to_proto(case))

        once = IdempotentRequest(request, ConcludeCaseResponse, encode, self._clock.now())
        note, actor = mask_free_text(request.note), current_actor() or ""
        return await self._store.conclude(parse_case(request.name), request.finding, note, actor, once)
