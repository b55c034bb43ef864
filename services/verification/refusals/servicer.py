"""RefusalService: wire ↔ domain, nothing else. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.verification.v1.refusal_service_pb2 import (
    AnswerRefusalRequest,
    AnswerRefusalResponse,
    GetRefusalRequest,
    GetRefusalResponse,
    ListRefusalsRequest,
    ListRefusalsResponse,
    ReportRefusalRequest,
    ReportRefusalResponse,
    SummarizeRefusalsRequest,
    SummarizeRefusalsResponse,
)
from hutong.verification.v1.refusal_service_pb2_grpc import RefusalServiceServicer

from services.domain.errors import InvalidArgument
from services.domain.instant import from_timestamp
from services.domain.names import parse_refusal
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens, page_size
from services.verification.refusals.convert import (
    answered_from_proto,
    filter_from_proto,
    refusal_to_proto,
    summary_filter_from_proto,
    summary_to_proto,
)
from services.verification.refusals.reporting import RefusalReporter
from services.verification.refusals.rules import Refusal
from services.verification.refusals.store import RefusalStore
from services.verification.refusals.summary import MAX_ROWS, summarize

Context = Any
"""grpc.aio.ServicerContext; the layers around these methods have used what there is to use of it."""


class RefusalServicer(RefusalServiceServicer):
    """The message board."""

    def __init__(self, reporter: RefusalReporter, store: RefusalStore, tokens: PageTokens, clock: Clock) -> None:
        self._reporter = reporter
        self._store = store
        self._tokens = tokens
        self._clock = clock

    async def ReportRefusal(self, request: ReportRefusalRequest, context: Context) -> ReportRefusalResponse:
        return await self._reporter.report(request)

    async def GetRefusal(self, request: GetRefusalRequest, context: Context) -> GetRefusalResponse:
        refusal = await self._store.get_refusal(parse_refusal(request.name))
        return GetRefusalResponse(refusal=refusal_to_proto(refusal))

    async def ListRefusals(self, request: ListRefusalsRequest, context: Context) -> ListRefusalsResponse:
        position = self._tokens.position(request, (str,))
        size = page_size(request.page_size)
        before = position[0] if position else ""
        refusals = await self._store.list_refusals(filter_from_proto(request), before, size + 1)
        token = self._tokens.issue(request, [refusals[size - 1].uuid]) if len(refusals) > size else ""
        shown = [refusal_to_proto(refusal) for refusal in refusals[:size]]
        return ListRefusalsResponse(refusals=shown, next_page_token=token)

    async def AnswerRefusal(self, request: AnswerRefusalRequest, context: Context) -> AnswerRefusalResponse:
        def encode(refusal: Refusal) -> AnswerRefusalResponse:
            return AnswerRefusalResponse(refusal=refusal_to_proto(refusal))

        uuid = answered_from_proto(request)
        return await self._store.answer_refusal(uuid, self._clock.now(), request, encode)

    async def SummarizeRefusals(self, request: SummarizeRefusalsRequest, context: Context) -> SummarizeRefusalsResponse:
        wanted = summary_filter_from_proto(request)
        reports = await self._store.list_reported(wanted)
        start_time, end_time = from_timestamp(request.start_time), from_timestamp(request.end_time)
        rows = summarize(reports, request.interval, start_time, end_time)
        if len(rows) > MAX_ROWS:
            raise InvalidArgument.field("interval", f"gives over {MAX_ROWS} rows: ask for longer ones or less time")
        return SummarizeRefusalsResponse(refusal_summaries=[summary_to_proto(row) for row in rows])
