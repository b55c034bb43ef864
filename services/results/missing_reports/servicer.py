"""Listing missing reports. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.follow_up_pb2 import FOLLOW_UP_ACTION_UPLOAD_REPORT, FollowUp
from hutong.results.v1.results_service_pb2 import ListFollowUpsRequest, ListFollowUpsResponse

from services.domain.instant import to_timestamp
from services.domain.names import format_lab, format_node, parse_lab
from services.results.missing_reports.model import ListedReport, Position
from services.results.missing_reports.store import list_missing_reports
from services.runtime.page_tokens import PageTokens, page_size
from services.storage.engine import Database

Context = Any
"""grpc.aio.ServicerContext; the layers around these methods have used what there is to use of it."""

_POSITION = (int, str, str)


class MissingReportServicer:
    """Missing reports of this node's laboratories."""

    def __init__(self, database: Database, tokens: PageTokens) -> None:
        self._database = database
        self._tokens = tokens

    async def ListFollowUps(self, request: ListFollowUpsRequest, context: Context) -> ListFollowUpsResponse:
        lab = parse_lab(request.lab, "lab") if request.lab else ""
        place = self._tokens.position(request, _POSITION)
        after: Position | None = (place[0], place[1], place[2]) if place else None
        size = page_size(request.page_size)
        found = await self._database.read(
            list_missing_reports, lab, after, size + 1, include_closed=request.include_closed
        )
        shown = found[:size]
        token = ""
        if len(found) > size:
            last = shown[-1].report
            token = self._tokens.issue(request, [last.create_time, last.lab, last.report_number])
        return ListFollowUpsResponse(follow_ups=map(_to_proto, shown), next_page_token=token)


def _to_proto(listed: ListedReport) -> FollowUp:
    report, close_time = listed
    return FollowUp(
        action=FOLLOW_UP_ACTION_UPLOAD_REPORT,
        lab=format_lab(report.lab),
        report_number=report.report_number,
        description="its holder has shown this report and no node has a record of it: upload it",
        create_time=to_timestamp(report.create_time),
        close_time=None if close_time is None else to_timestamp(close_time),
        raised_by=format_node(report.raised_by),
    )
