"""TimelinessService: who uploads late. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest, SummarizeTimelinessResponse
from hutong.results.v1.timeliness_service_pb2_grpc import TimelinessServiceServicer

from services.domain.instant import from_duration, to_timestamp
from services.domain.names import parse_lab
from services.results.fields import interval, known_region
from services.results.timeliness.convert import timeliness_to_proto
from services.results.timeliness.delays import DEFAULT_LATE
from services.results.timeliness.store import TimelinessStore

Context = Any
"""grpc.aio.ServicerContext; the layers around these methods have used what there is to use of it."""


class TimelinessServicer(TimelinessServiceServicer):
    """Who uploads late."""

    def __init__(self, store: TimelinessStore) -> None:
        self._store = store

    async def SummarizeTimeliness(
        self, request: SummarizeTimelinessRequest, context: Context
    ) -> SummarizeTimelinessResponse:
        lab = parse_lab(request.lab, "lab") if request.lab else ""
        region = "" if lab else known_region(request.region, "region")
        start, end = interval(request.start_time, request.end_time, "end_time")
        late = from_duration(request.late_threshold) if request.HasField("late_threshold") else DEFAULT_LATE
        found = await self._store.summarize(lab, region, start, end, late)
        return SummarizeTimelinessResponse(
            timeliness=timeliness_to_proto(found.by_subject, lab, region),
            horizon_time=None if found.horizon is None else to_timestamp(found.horizon),
        )
