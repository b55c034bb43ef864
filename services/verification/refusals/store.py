"""Stores reported refusals in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1.refusal_service_pb2 import (
    AnswerRefusalRequest,
    AnswerRefusalResponse,
    ReportRefusalRequest,
    ReportRefusalResponse,
)
from hutong_texts import english
from sqlalchemy import ColumnElement, Connection, or_, select

from services.domain.errors import FailedPrecondition, NotFound, Violation
from services.domain.instant import Instant
from services.domain.names import format_node, format_refusal
from services.domain.region import NATION
from services.runtime.audit import note_subjects, record_change
from services.runtime.call import current_actor
from services.storage.columns import in_region
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter
from services.verification.refusals.masking import mask_identity
from services.verification.refusals.outbox import read_links
from services.verification.refusals.report_writer import ReportWriter
from services.verification.refusals.routing import Links, may_answer
from services.verification.refusals.rows import find_same, from_row, lock_same, select_refusal
from services.verification.refusals.rules import Refusal
from services.verification.refusals.tables import refusals, requests
from services.verification.stored_decisions.store import StoredDecision, insert_decisions

if TYPE_CHECKING:
    from services.verification.decision.model import Ground
    from services.verification.refusals.rules import Assessment, State

_C = refusals.c
_IN_STATE = {
    refusal_pb2.REFUSAL_STATE_PENDING: _C.answer_time.is_(None) & _C.assess_time.is_(None),
    refusal_pb2.REFUSAL_STATE_OPEN: _C.answer_time.is_(None) & _C.assess_time.is_not(None),
    refusal_pb2.REFUSAL_STATE_ANSWERED: _C.answer_time.is_not(None),
}


@dataclass(frozen=True, slots=True)
class RefusalFilter:
    """A filter of reports. An empty field matches all reports. Duplicates never match.

    If `overdue_at` is set, only reports whose answers are overdue at that instant match.
    """

    region: str = ""
    grounds: tuple[Ground, ...] = ()
    assessments: tuple[Assessment, ...] = ()
    states: tuple[State, ...] = ()
    start_time: Instant | None = None
    end_time: Instant | None = None
    overdue_at: Instant | None = None


class NewReport(NamedTuple):
    """A report to be stored.

    Attributes:
        refusal: the report.
        made: the decision that was made for it; None for none.
    """

    refusal: Refusal
    made: StoredDecision | None


class RefusalStore:
    """The store of reports.

    The hashes of stored requests are keyed with `secrets`, because a request may hold an identity. `own` is the region
    of this node.
    """

    def __init__(
        self, database: Database, secrets: Sequence[bytes], own: str = NATION, *, has_upstream: bool = False
    ) -> None:
        self._database = database
        self._writer = IdempotentWriter(database, requests, secrets)
        self._own = own
        self._has_upstream = has_upstream

    async def read_links(self) -> Links:
        """Return the nodes with which this node exchanges reports."""
        return await self._database.read(read_links, self._own, self._has_upstream)

    async def add_refusal(
        self, report: NewReport, request: ReportRefusalRequest, encode: Callable[[Refusal], ReportRefusalResponse]
    ) -> ReportRefusalResponse:
        """Store a report, and the decision that was made for it if there is one, in one transaction.

        If an earlier report of the same refusal is stored, the answer is about the earlier report, and nothing is
        stored.
        """
        refusal = report.refusal

        def run(connection: Connection) -> Refusal:
            writer = ReportWriter.begin(connection, self._own, self._has_upstream, refusal.create_time)
            lock_same(connection, refusal.same_report_keys)
            if same := find_same(connection, refusal):
                return writer.unite(same, refusal.same_report_keys)
            if not writer.insert(refusal):
                # Another transaction has stored the same report since.
                return find_same(connection, refusal)[0]
            if report.made is not None:
                insert_decisions(connection, [report.made])
            writer.send(refusal)
            record_change(connection, format_refusal(refusal.uuid), subject_keys=_subjects(refusal))
            return refusal

        idempotent = IdempotentRequest(request, ReportRefusalResponse, encode, refusal.create_time)
        return await self._writer.write(idempotent, run)

    async def answer_refusal(
        self,
        uuid: str,
        now: Instant,
        request: AnswerRefusalRequest,
        encode: Callable[[Refusal], AnswerRefusalResponse],
    ) -> AnswerRefusalResponse:
        """Store the current caller's answer to a report.

        Raises:
            NotFound: there is no such report.
            FailedPrecondition: CONFLICT, the report has another answer already; NOT_RESPONSIBLE, another node answers
                it.
        """
        actor = current_actor()

        def run(connection: Connection) -> Refusal:
            writer = ReportWriter.begin(connection, self._own, self._has_upstream, now)
            refusal = _answer(writer, uuid, mask_identity(request.answer), actor)
            record_change(connection, subject_keys=_subjects(refusal), region=refusal.region)
            return refusal

        idempotent = IdempotentRequest(request, AnswerRefusalResponse, encode, now)
        return await self._writer.write(idempotent, run)

    async def get_refusal(self, uuid: str) -> Refusal:
        """Return one report.

        Raises:
            NotFound: there is no such report.
        """
        refusal = await self._database.read(select_refusal, uuid)
        note_subjects(_subjects(refusal))
        return refusal

    async def get_by_code(self, code: str) -> Refusal:
        """Return the report with a receipt of this code.

        Raises:
            NotFound: there is none.
        """
        query = select(refusals).where(_C.code == code)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise NotFound(
                "NOT_FOUND", english("no report with this code is known here"), metadata={"resource": "code"}
            )
        refusal = from_row(row)
        note_subjects(_subjects(refusal))
        return refusal

    async def list_refusals(self, wanted: RefusalFilter, before: str, limit: int) -> list[Refusal]:
        """Return at most `limit` reports that are older than the report `before`, newest first.

        If `before` is empty, begin at the newest report.
        """
        conditions = filter_conditions(wanted)
        if before:
            conditions.append(_C.uuid < before)
        statement = select(refusals).where(*conditions).order_by(_C.uuid.desc()).limit(limit)

        def work(connection: Connection) -> list[Refusal]:
            return [from_row(row) for row in connection.execute(statement)]

        return await self._database.read_in_bulk(work)


def _subjects(refusal: Refusal) -> Sequence[bytes]:
    """Return the subjects of a report, for the audit."""
    return () if refusal.subject_key is None else (refusal.subject_key,)


def filter_conditions(wanted: RefusalFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter."""
    conditions = [in_region(_C.region, wanted.region), _C.duplicate_of == ""]
    if wanted.grounds:
        conditions.append(or_(*(_C.grounds.bitwise_and(1 << ground) != 0 for ground in wanted.grounds)))
    if wanted.assessments:
        conditions.append(_C.assessment.in_(wanted.assessments))
    if wanted.states:
        conditions.append(or_(*(_IN_STATE[state] for state in wanted.states if state in _IN_STATE)))
    if wanted.overdue_at is not None:
        conditions.append(_C.answer_time.is_(None) & (_C.due_time < wanted.overdue_at))
    if wanted.start_time is not None:
        conditions.append(_C.refuse_time >= wanted.start_time)
    if wanted.end_time is not None:
        conditions.append(_C.refuse_time < wanted.end_time)
    return conditions


def _answer(writer: ReportWriter, uuid: str, answer: str, actor: str | None) -> Refusal:
    refusal = select_refusal(writer.connection, uuid, to_change=True)
    if refusal.answer_time is None:
        _require_responsible(writer.links, refusal)
        refusal = replace(
            refusal, answer=answer, answer_time=writer.now, answer_actor=actor, answer_node=writer.links.own
        )
        writer.update_everywhere(refusal)
    elif refusal.answer != answer:
        raise FailedPrecondition(
            "CONFLICT",
            english("the report has another answer already"),
            violations=[
                Violation("answer", "CONFLICT", english("the report has another answer already"), format_refusal(uuid))
            ],
            metadata={"resource": format_refusal(uuid)},
        )
    return refusal


def _require_responsible(links: Links, refusal: Refusal) -> None:
    if refusal.duplicate_of:
        text = english("is a duplicate: answer {name}", name=format_refusal(refusal.duplicate_of))
    elif may_answer(links, refusal.region, refusal.responsible_node):
        return
    else:
        text = english("another node answers this report")
    name = format_refusal(refusal.uuid)
    raise FailedPrecondition(
        "NOT_RESPONSIBLE",
        text,
        violations=[Violation("name", "NOT_RESPONSIBLE", text, name)],
        metadata={
            "resource": name,
            "node": format_node(refusal.responsible_node) if refusal.responsible_node else "",
        },
    )
