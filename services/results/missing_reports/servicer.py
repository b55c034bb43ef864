"""MissingReportService. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.missing_report_pb2 import MissingReport
from hutong.results.v1.missing_report_service_pb2 import ListMissingReportsRequest, ListMissingReportsResponse

from services.domain.instant import to_timestamp
from services.domain.names import format_lab, format_missing_report, format_node, parse_lab
from services.results.missing_reports.model import ListedReport, Position
from services.results.missing_reports.store import list_missing_reports
from services.runtime.page_tokens import PageTokens, page_size
from services.storage.engine import Database

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""

_POSITION = (int, str, str)


class MissingReportServicer:
    """Lists missing reports of this node's laboratories."""

    def __init__(self, database: Database, tokens: PageTokens) -> None:
        self._database = database
        self._tokens = tokens

    async def ListMissingReports(
        self, request: ListMissingReportsRequest, context: Context
    ) -> ListMissingReportsResponse:
        lab = parse_lab(request.lab, "lab") if request.lab else ""
        position = self._tokens.position(request, _POSITION)
        after: Position | None = (position[0], position[1], position[2]) if position else None
        size = page_size(request.page_size)
        found = await self._database.read_in_bulk(
            list_missing_reports, lab, after, size + 1, include_closed=request.include_closed
        )
        shown = found[:size]
        token = ""
        if len(found) > size:
            last = shown[-1].report
            token = self._tokens.issue(request, [last.create_time, last.lab, last.report_number])
        return ListMissingReportsResponse(missing_reports=map(_to_proto, shown), next_page_token=token)


def _to_proto(listed: ListedReport) -> MissingReport:
    report, close_time = listed
    return MissingReport(
        name=format_missing_report(report.lab, report.report_number),
        lab=format_lab(report.lab),
        report_number=report.report_number,
        raising_node=format_node(report.raising_node),
        create_time=to_timestamp(report.create_time),
        close_time=None if close_time is None else to_timestamp(close_time),
    )
