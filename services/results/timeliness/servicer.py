"""TimelinessService: delays of uploads. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest, SummarizeTimelinessResponse
from hutong.results.v1.timeliness_service_pb2_grpc import TimelinessServiceServicer

from services.domain.instant import from_duration, to_timestamp
from services.domain.names import parse_lab
from services.results.fields import closed_interval, known_region
from services.results.timeliness.convert import timeliness_to_proto
from services.results.timeliness.delays import DEFAULT_LATE
from services.results.timeliness.store import TimelinessStore
from services.runtime.page_tokens import PageTokens, page_size

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class TimelinessServicer(TimelinessServiceServicer):
    """Delays of uploads."""

    def __init__(self, store: TimelinessStore, tokens: PageTokens) -> None:
        self._store = store
        self._tokens = tokens

    async def SummarizeTimeliness(
        self, request: SummarizeTimelinessRequest, context: Context
    ) -> SummarizeTimelinessResponse:
        start, end = closed_interval(request.interval, "interval")
        late = from_duration(request.late_threshold) if request.HasField("late_threshold") else DEFAULT_LATE
        token = ""
        if request.HasField("lab"):
            region = ""
            found = await self._store.summarize_lab(parse_lab(request.lab, "lab"), start, end, late)
        else:
            region = known_region(request.region, "region")
            position = self._tokens.position(request, (str,))
            size = page_size(request.page_size)
            after = position[0] if position else None
            found = await self._store.summarize_region(region, after, size, start, end, late)
            if found.next_position is not None:
                token = self._tokens.issue(request, [found.next_position])
        return SummarizeTimelinessResponse(
            timeliness=timeliness_to_proto(found.by_lab, region),
            next_page_token=token,
            retention_start_time=None if found.horizon is None else to_timestamp(found.horizon),
        )
