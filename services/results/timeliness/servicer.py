"""TimelinessService: delays of uploads. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest, SummarizeTimelinessResponse
from hutong.results.v1.timeliness_service_pb2_grpc import TimelinessServiceServicer

from services.domain.fields import known_region
from services.domain.instant import DAY, Span, from_duration, optional_timestamp
from services.domain.names import parse_lab
from services.results.fields import closed_interval
from services.results.timeliness.convert import row_to_proto
from services.results.timeliness.delays import DEFAULT_LATE
from services.results.timeliness.model import Position, Question
from services.results.timeliness.store import TimelinessStore
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens, rows_to_read

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""

DEFAULT_SILENCE: Span = DAY
"""How long a laboratory may upload nothing by default before it is silent. Every laboratory works daily."""


class TimelinessServicer(TimelinessServiceServicer):
    """Delays of uploads."""

    def __init__(self, store: TimelinessStore, tokens: PageTokens, clock: Clock) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock

    async def SummarizeTimeliness(
        self, request: SummarizeTimelinessRequest, context: Context
    ) -> SummarizeTimelinessResponse:
        start, end = closed_interval(request.interval, "interval")
        late = from_duration(request.late_threshold) if request.HasField("late_threshold") else DEFAULT_LATE
        silent = from_duration(request.silent_after) if request.HasField("silent_after") else DEFAULT_SILENCE
        now = self._clock.now()
        question = Question(start, end, late, request.period, now - silent, now)
        position = self._tokens.position(request, (int, str, int))
        after = Position(*position) if position else None
        limit = rows_to_read(request.page_size)
        if request.HasField("lab"):
            region = ""
            found = await self._store.summarize_lab(parse_lab(request.lab, "lab"), question, after, limit)
        else:
            region = known_region(request.region, "region")
            found = await self._store.summarize_region(region, request.groupings, question, after, limit)
        shown, token = self._tokens.page(request, found.rows, lambda row: list(row.position))
        return SummarizeTimelinessResponse(
            timeliness=[row_to_proto(row, region) for row in shown],
            next_page_token=token,
            retention_start_time=optional_timestamp(found.horizon),
        )
