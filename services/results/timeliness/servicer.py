"""TimelinessService: delays of uploads. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.timeliness_pb2 import TIMELINESS_GROUPING_LAB
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest, SummarizeTimelinessResponse
from hutong.results.v1.timeliness_service_pb2_grpc import TimelinessServiceServicer
from hutong.type.v1 import summary_period_pb2

from services.domain.fields import known_region
from services.domain.instant import DAY, HOUR, Span, from_duration, optional_timestamp
from services.domain.names import parse_lab
from services.results.fields import closed_interval
from services.results.timeliness.convert import row_to_proto
from services.results.timeliness.delays import DEFAULT_LATE
from services.results.timeliness.model import Position, Question
from services.results.timeliness.store import TimelinessStore
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens, page_size, rows_to_read

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""

MOST_LAB_HOURS = 50 * 31 * 24
"""The most hours that the rows of a page stand for, if laboratories are among them. There are no totals by laboratory,
so a page reads the counts of each of these hours."""
LEAST_PAGE = 5
"""How many rows a page may have for an interval of any length."""
_HOURS_OF_PART = {
    summary_period_pb2.SUMMARY_PERIOD_DAY: 24,
    summary_period_pb2.SUMMARY_PERIOD_WEEK: 7 * 24,
    summary_period_pb2.SUMMARY_PERIOD_MONTH: 31 * 24,
}
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
        request.page_size = bounded_page_size(request, end - start)
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


def bounded_page_size(request: SummarizeTimelinessRequest, interval: Span) -> int:
    """Return how many rows a page has, so that the hours of its laboratories are bounded."""
    size = page_size(request.page_size)
    if request.HasField("region") and request.groupings and TIMELINESS_GROUPING_LAB not in request.groupings:
        return size
    hours = _HOURS_OF_PART.get(request.period, interval // HOUR + 1)
    return min(size, max(LEAST_PAGE, MOST_LAB_HOURS // hours))
