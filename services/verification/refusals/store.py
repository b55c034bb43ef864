"""Stores reported refusals in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hutong.verification.v1.refusal_service_pb2 import (
    AnswerRefusalRequest,
    AnswerRefusalResponse,
    ReportRefusalRequest,
    ReportRefusalResponse,
)
from hutong_texts import english
from sqlalchemy import ColumnElement, Connection, Row, insert, or_, select, update

from services.domain.errors import FailedPrecondition, NotFound, Violation
from services.domain.instant import Instant
from services.domain.names import format_refusal
from services.runtime.audit import note_subjects, record_change
from services.runtime.call import current_actor
from services.storage.columns import in_region
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter
from services.verification.refusals.masking import mask_identity
from services.verification.refusals.rules import Refusal
from services.verification.refusals.summary import Reported
from services.verification.refusals.tables import refusals, requests
from services.verification.stored_decisions.store import StoredDecision, insert_decisions

if TYPE_CHECKING:
    from services.verification.decision.model import Ground
    from services.verification.refusals.rules import Assessment

_C = refusals.c


@dataclass(frozen=True, slots=True)
class RefusalFilter:
    """A filter of reports. An empty field matches all reports.

    `is_open` None matches open and answered reports. `from_region` leaves out the regions whose codes come before it.
    """

    region: str = ""
    grounds: tuple[Ground, ...] = ()
    assessments: tuple[Assessment, ...] = ()
    is_open: bool | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None
    from_region: str = ""


class RefusalStore:
    """The store of reports. `secrets` key the hashes of stored requests, because a request may hold an identity."""

    def __init__(self, database: Database, secrets: Sequence[bytes]) -> None:
        self._database = database
        self._writer = IdempotentWriter(database, requests, secrets)

    async def add_refusal(
        self,
        refusal: Refusal,
        made: StoredDecision | None,
        request: ReportRefusalRequest,
        encode: Callable[[Refusal], ReportRefusalResponse],
    ) -> ReportRefusalResponse:
        """Store a report, and the decision that was made for it if there is one, in one transaction."""

        def run(connection: Connection) -> Refusal:
            if made is not None:
                insert_decisions(connection, [made])
            connection.execute(insert(refusals).values(_to_row(refusal)))
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
            FailedPrecondition: CONFLICT, the report has another answer already.
        """
        actor = current_actor()

        def run(connection: Connection) -> Refusal:
            refusal = _answer(connection, uuid, mask_identity(request.answer), now, actor)
            record_change(connection, subject_keys=_subjects(refusal), region=refusal.region)
            return refusal

        idempotent = IdempotentRequest(request, AnswerRefusalResponse, encode, now)
        return await self._writer.write(idempotent, run)

    async def get_refusal(self, uuid: str) -> Refusal:
        """Return one report.

        Raises:
            NotFound: there is no such report.
        """
        refusal = await self._database.read(_select, uuid)
        note_subjects(_subjects(refusal))
        return refusal

    async def list_refusals(self, wanted: RefusalFilter, before: str, limit: int) -> list[Refusal]:
        """Return at most `limit` reports that are older than the report `before`, newest first.

        If `before` is empty, begin at the newest report.
        """
        conditions = _conditions(wanted)
        if before:
            conditions.append(_C.uuid < before)
        statement = select(refusals).where(*conditions).order_by(_C.uuid.desc()).limit(limit)

        def work(connection: Connection) -> list[Refusal]:
            return [_from_row(row) for row in connection.execute(statement)]

        return await self._database.read_in_bulk(work)

    async def list_reported(self, wanted: RefusalFilter) -> list[Reported]:
        """Return the part of each selected report that a summary needs."""
        columns = (_C.region, _C.grounds, _C.assessment, _C.refuse_time, _C.create_time, _C.answer_time)
        statement = select(*columns).where(*_conditions(wanted))

        def work(connection: Connection) -> list[Reported]:
            return [
                Reported(
                    row.region,
                    _from_bits(row.grounds),
                    row.assessment,
                    row.refuse_time,
                    None if row.answer_time is None else row.answer_time - row.create_time,
                )
                for row in connection.execute(statement)
            ]

        return await self._database.read_in_bulk(work)


def _subjects(refusal: Refusal) -> Sequence[bytes]:
    """Return the subjects of a report, for the audit."""
    return () if refusal.subject_key is None else (refusal.subject_key,)


def _conditions(wanted: RefusalFilter) -> list[ColumnElement[bool]]:
    conditions = [in_region(_C.region, wanted.region)]
    if wanted.from_region:
        conditions.append(_C.region >= wanted.from_region)
    if wanted.grounds:
        conditions.append(or_(*(_C.grounds.bitwise_and(1 << ground) != 0 for ground in wanted.grounds)))
    if wanted.assessments:
        conditions.append(_C.assessment.in_(wanted.assessments))
    if wanted.is_open is not None:
        conditions.append(_C.answer_time.is_(None) if wanted.is_open else _C.answer_time.is_not(None))
    if wanted.start_time is not None:
        conditions.append(_C.refuse_time >= wanted.start_time)
    if wanted.end_time is not None:
        conditions.append(_C.refuse_time < wanted.end_time)
    return conditions


def _select(connection: Connection, uuid: str) -> Refusal:
    row = connection.execute(select(refusals).where(_C.uuid == uuid)).one_or_none()
    if row is None:
        raise NotFound.resource(format_refusal(uuid))
    return _from_row(row)


def _answer(connection: Connection, uuid: str, answer: str, now: Instant, actor: str | None) -> Refusal:
    is_open = (_C.uuid == uuid) & _C.answer_time.is_(None)
    stated = {"answer": answer, "answer_time": now, "answer_actor": actor}
    answered = connection.execute(update(refusals).where(is_open).values(stated))
    refusal = _select(connection, uuid)
    if answered.rowcount == 0 and refusal.answer != answer:
        raise FailedPrecondition(
            "CONFLICT",
            english("the report has another answer already"),
            violations=[
                Violation("answer", "CONFLICT", english("the report has another answer already"), format_refusal(uuid))
            ],
            metadata={"resource": format_refusal(uuid)},
        )
    return refusal


def _to_row(refusal: Refusal) -> dict[str, Any]:
    return asdict(refusal) | {
        "grounds": _to_bits(refusal.grounds),
        "forbidden_grounds": _to_bits(refusal.forbidden_grounds),
    }


def _from_row(row: Row[Any]) -> Refusal:
    values = dict(row._mapping)
    values["grounds"] = _from_bits(row.grounds)
    values["forbidden_grounds"] = _from_bits(row.forbidden_grounds)
    return Refusal(**values)


def _to_bits(grounds: Iterable[Ground]) -> int:
    return sum(1 << ground for ground in grounds)


def _from_bits(bits: int) -> tuple[Ground, ...]:
    grounds: Sequence[Any] = [ground for ground in range(bits.bit_length()) if bits >> ground & 1]
    return tuple(grounds)
