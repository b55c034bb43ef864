"""Translates the RPCs of RefusalService between wire and domain. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.verification.v1 import refusal_pb2
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
    TrackRefusalRequest,
    TrackRefusalResponse,
)
from hutong.verification.v1.refusal_service_pb2_grpc import RefusalServiceServicer

from services.domain.instant import optional_timestamp
from services.domain.names import parse_refusal
from services.runtime.call import current_caller, may_see_actors
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens, rows_to_read
from services.verification.refusals.convert import (
    answered_from_proto,
    filter_from_proto,
    refusal_to_proto,
)
from services.verification.refusals.receipts import parse_code
from services.verification.refusals.reporting import RefusalReporter
from services.verification.refusals.rules import Refusal, may_read_words
from services.verification.refusals.store import RefusalStore
from services.verification.refusals.summaries.convert import question_from_proto, summary_to_proto
from services.verification.refusals.summaries.model import RowKey
from services.verification.refusals.summaries.store import SummaryStore

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class RefusalServicer(RefusalServiceServicer):
    """RefusalService: stores, answers and counts reported refusals."""

    def __init__(
        self, reporter: RefusalReporter, store: RefusalStore, summaries: SummaryStore, tokens: PageTokens, clock: Clock
    ) -> None:
        self._reporter = reporter
        self._store = store
        self._summaries = summaries
        self._tokens = tokens
        self._clock = clock

    async def ReportRefusal(self, request: ReportRefusalRequest, context: Context) -> ReportRefusalResponse:
        return await self._reporter.report(request)

    async def GetRefusal(self, request: GetRefusalRequest, context: Context) -> GetRefusalResponse:
        refusal = await self._store.get_refusal(parse_refusal(request.name))
        return GetRefusalResponse(refusal=self._show(refusal))

    async def TrackRefusal(self, request: TrackRefusalRequest, context: Context) -> TrackRefusalResponse:
        refusal = await self._store.get_by_code(parse_code(request.code))
        return TrackRefusalResponse(refusal=self._show(refusal))

    async def ListRefusals(self, request: ListRefusalsRequest, context: Context) -> ListRefusalsResponse:
        position = self._tokens.position(request, (str,))
        before = position[0] if position else ""
        wanted = filter_from_proto(request, self._clock.now())
        found = await self._store.list_refusals(wanted, before, rows_to_read(request.page_size))
        shown, token = self._tokens.page(request, found, lambda refusal: [refusal.uuid])
        refusals = [self._show(refusal) for refusal in shown]
        return ListRefusalsResponse(refusals=refusals, next_page_token=token)

    async def AnswerRefusal(self, request: AnswerRefusalRequest, context: Context) -> AnswerRefusalResponse:
        now, actors, caller = self._clock.now(), may_see_actors(), current_caller()

        def encode(refusal: Refusal) -> AnswerRefusalResponse:
            words = may_read_words(caller, refusal)
            return AnswerRefusalResponse(refusal=refusal_to_proto(refusal, now, with_actors=actors, with_words=words))

        uuid = answered_from_proto(request)
        return await self._store.answer_refusal(uuid, now, request, encode)

    async def SummarizeRefusals(self, request: SummarizeRefusalsRequest, context: Context) -> SummarizeRefusalsResponse:
        question, now = question_from_proto(request), self._clock.now()
        position = self._tokens.position(request, (int, str, int, int, str, int))
        after = RowKey(*position) if position else None
        found = await self._summaries.summarize(question, after, rows_to_read(request.page_size), now)
        shown, token = self._tokens.page(request, found.rows, lambda row: tuple(row.key))
        start_time = found.decision_start_time
        return SummarizeRefusalsResponse(
            refusal_summaries=[summary_to_proto(row, counts_decisions=start_time is not None) for row in shown],
            next_page_token=token,
            decision_start_time=optional_timestamp(start_time),
        )

    def _show(self, refusal: Refusal) -> refusal_pb2.Refusal:
        """Return the message of a report, with the person's words if the caller may read them."""
        words = may_read_words(current_caller(), refusal)
        return refusal_to_proto(refusal, self._clock.now(), with_actors=may_see_actors(), with_words=words)
