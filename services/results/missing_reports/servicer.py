"""MissingReportService, and InternalMissingReportService. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.internal.v1.internal_missing_report_service_pb2 import (
    DeniedReport,
    ListDeniedReportsRequest,
    ListDeniedReportsResponse,
)
from hutong.results.internal.v1.internal_missing_report_service_pb2_grpc import InternalMissingReportServiceServicer
from hutong.results.v1.missing_report_pb2 import MissingReport
from hutong.results.v1.missing_report_service_pb2 import (
    AnswerMissingReportRequest,
    AnswerMissingReportResponse,
    ListMissingReportsRequest,
    ListMissingReportsResponse,
)
from hutong_texts import english
from sqlalchemy import Connection

from services.domain.errors import InvalidArgument
from services.domain.instant import DAY, MINUTE, Instant, Span, from_timestamp, optional_timestamp, to_timestamp
from services.domain.names import format_lab, format_missing_report, format_node, parse_lab, parse_missing_report
from services.results.changelog.log import ChangeLog
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.labs.copies import find_known
from services.results.labs.model import Lab
from services.results.missing_reports import model as missing
from services.results.missing_reports.answers import answer_missing, list_denied
from services.results.missing_reports.convert import fill_answer
from services.results.missing_reports.model import TO_FOLLOW, LabAnswer, ListedReport, Position
from services.results.missing_reports.store import list_missing_reports
from services.runtime.call import current_actor, may_see_actors
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens, rows_to_read
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""

_POSITION = (int, str, str)

LONGEST_STORING: Span = 10 * MINUTE
"""The longest time from the instant that is stored as an answer's store time to the end of the answer's transaction.

Verification's next question begins this long before the current question, so that it misses no denial. The time has a
wide margin, because the clocks of a node's machines may differ."""
MAX_EXPECTED: Span = 30 * DAY
"""How far ahead a laboratory may expect its upload. A missing report is kept for 30 days by default."""


class MissingReportServicer:
    """Lists missing reports of this node's laboratories, and records the answers of the laboratories."""

    def __init__(
        self, database: Database, writer: IdempotentWriter, change_log: ChangeLog, tokens: PageTokens, clock: Clock
    ) -> None:
        self._database = database
        self._writer = writer
        self._change_log = change_log
        self._tokens = tokens
        self._clock = clock

    async def ListMissingReports(
        self, request: ListMissingReportsRequest, context: Context
    ) -> ListMissingReportsResponse:
        lab = parse_lab(request.lab, "lab") if request.lab else ""
        position = self._tokens.position(request, _POSITION)
        after: Position | None = (position[0], position[1], position[2]) if position else None

        def read(connection: Connection) -> tuple[list[ListedReport], dict[str, Lab]]:
            limit = rows_to_read(request.page_size)
            listed = list_missing_reports(connection, lab, after, limit, include_closed=request.include_closed)
            return listed, find_known(connection, sorted({one.report.lab for one in listed}))

        found, labs = await self._database.read_in_bulk(read)
        shown, token = self._tokens.page(request, found, _position_of)
        with_actor = may_see_actors()
        reports = [_to_proto(*listed, labs.get(listed.report.lab), with_actor=with_actor) for listed in shown]
        return ListMissingReportsResponse(missing_reports=reports, next_page_token=token)

    async def AnswerMissingReport(
        self, request: AnswerMissingReportRequest, context: Context
    ) -> AnswerMissingReportResponse:
        lab, number = parse_missing_report(request.name)
        now = self._clock.now()
        answer = LabAnswer(request.answer, now, _expected_time(request, now), current_actor() or "")
        with_actor = may_see_actors()

        def run(connection: Connection) -> MissingReport:
            report, is_new = answer_missing(connection, lab, number, answer)
            if is_new:
                change = LoggedChange(ChangeKind.MISSING_REPORT_ANSWERS, lab, [(number, 0)])
                self._change_log.record(connection, [change], now)
            known = find_known(connection, [lab]).get(lab)
            return _to_proto(report, report.close_time, known, with_actor=with_actor)

        def encode(message: MissingReport) -> AnswerMissingReportResponse:
            return AnswerMissingReportResponse(missing_report=message)

        return await self._writer.write(IdempotentRequest(request, AnswerMissingReportResponse, encode, now), run)


class InternalMissingReportServicer(InternalMissingReportServiceServicer):
    """Tells this node's Verification which reports their laboratories have denied."""

    def __init__(self, database: Database, tokens: PageTokens, clock: Clock) -> None:
        self._database = database
        self._tokens = tokens
        self._clock = clock

    async def ListDeniedReports(self, request: ListDeniedReportsRequest, context: Context) -> ListDeniedReportsResponse:
        next_start = self._clock.now() - LONGEST_STORING
        position = self._tokens.position(request, (str, str))
        after = (position[0], position[1]) if position else None
        start = from_timestamp(request.store_start_time) if request.HasField("store_start_time") else None
        found = await self._database.read_in_bulk(list_denied, start, after, rows_to_read(request.page_size))
        shown, token = self._tokens.page(request, found, list)
        return ListDeniedReportsResponse(
            denied_reports=[DeniedReport(lab=format_lab(lab), report_number=number) for lab, number in shown],
            next_page_token=token,
            next_start_time=None if position else to_timestamp(next_start),
        )


def _expected_time(request: AnswerMissingReportRequest, now: Instant) -> Instant | None:
    """Return when the laboratory expects to upload the report; None if it has not said.

    Raises:
        InvalidArgument: the time is stated with an answer other than TO_FOLLOW, lies in the past, or lies too far
            ahead.
    """
    if not request.HasField("expected_time"):
        return None
    if request.answer != TO_FOLLOW:
        raise InvalidArgument.field("expected_time", english("is stated only with TO_FOLLOW"))
    expected = from_timestamp(request.expected_time)
    if not now <= expected <= now + MAX_EXPECTED:
        raise InvalidArgument.field("expected_time", english("must lie between now and 30 days from now"))
    return expected


def _position_of(listed: ListedReport) -> list[str | int]:
    report = listed.report
    return [report.create_time, report.lab, report.report_number]


def _to_proto(
    report: missing.MissingReport, close_time: Instant | None, lab: Lab | None, *, with_actor: bool
) -> MissingReport:
    message = MissingReport(
        name=format_missing_report(report.lab, report.report_number),
        lab=format_lab(report.lab),
        report_number=report.report_number,
        raising_node=format_node(report.raising_node),
        create_time=to_timestamp(report.create_time),
        close_time=optional_timestamp(close_time),
        lab_display_name=lab.display_name if lab else "",
        lab_contact=lab.contact or "" if lab else "",
    )
    if report.answer is not None:
        fill_answer(message.lab_answer, report.answer, with_actor=with_actor)
    return message
