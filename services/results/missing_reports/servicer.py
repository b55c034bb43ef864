"""MissingReportService. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.missing_report_pb2 import MissingReport
from hutong.results.v1.missing_report_service_pb2 import ListMissingReportsRequest, ListMissingReportsResponse

from services.domain.instant import to_timestamp
from services.domain.names import format_lab, format_missing_report, format_node, parse_lab
from services.results.missing_reports.model import ListedReport, Position
from services.results.missing_reports.store import list_missing_reports
from services.runtime.page_tokens import PageTokens, rows_to_read
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
        found = await self._database.read_in_bulk(
            list_missing_reports,
            lab,
            after,
            rows_to_read(request.page_size),
            include_closed=request.include_closed,
        )
        shown, token = self._tokens.page(request, found, _position_of)
        return ListMissingReportsResponse(missing_reports=map(_to_proto, shown), next_page_token=token)


def _position_of(listed: ListedReport) -> list[str | int]:
    report = listed.report
    return [report.create_time, report.lab, report.report_number]


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
