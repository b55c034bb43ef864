"""Lists, assigns and concludes cases in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from google.protobuf.message import Message
from hutong_texts import english
from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, update

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.names import format_case
from services.runtime.audit import record_change
from services.storage.columns import in_region
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter
from services.verification.cases.model import ASSIGNED, CONCLUDED, NOT_CONCLUDED, OPEN, EvidenceCase
from services.verification.cases.tables import evidence_cases
from services.verification.idempotency import requests

if TYPE_CHECKING:
    from services.verification.cases.model import CaseKind, CaseState, Finding

M = TypeVar("M", bound=Message)
_C = evidence_cases.c


class CaseQuery(NamedTuple):
    """The filter of a listing. Empty fields match everything. `lab` is a code."""

    region: str = ""
    states: Sequence[CaseState] = ()
    kinds: Sequence[CaseKind] = ()
    findings: Sequence[Finding] = ()
    lab: str = ""
    assignee: str = ""


class CaseStore:
    """The store of cases.

    The hashes of stored requests are keyed with `secrets`, because a note may hold an identity.
    """

    def __init__(self, database: Database, secrets: Sequence[bytes]) -> None:
        self._database = database
        self._writer = IdempotentWriter(database, requests, secrets)

    async def list_cases(self, query: CaseQuery, before: str, limit: int) -> list[EvidenceCase]:
        """Return at most `limit` cases that were opened before the case `before`, newest first.

        If `before` is empty, begin at the newest case.
        """
        return await self._database.read_in_bulk(_list_cases, query, before, limit)

    async def get_case(self, uuid: str) -> EvidenceCase:
        """Return one case.

        Raises:
            NotFound: there is no such case.
        """
        return await self._database.read(_get_case, uuid)

    async def assign(self, uuid: str, assignee: str, actor: str, request: IdempotentRequest[EvidenceCase, M]) -> M:
        """Assign a case to an officer.

        Raises:
            NotFound: there is no such case.
            FailedPrecondition: CONFLICT, the case is concluded.
        """
        stated = {"assignee": assignee, "assign_time": request.now, "assign_actor": actor or None}
        other = _C.assignee != assignee
        return await self._change(uuid, stated, lambda case: case.assignee == assignee, request, other)

    async def conclude(
        self, uuid: str, finding: Finding, note: str, actor: str, request: IdempotentRequest[EvidenceCase, M]
    ) -> M:
        """Conclude a case with a finding.

        Raises:
            NotFound: there is no such case.
            FailedPrecondition: CONFLICT, the case has another conclusion.
        """
        stated = {"finding": finding, "note": note, "conclude_time": request.now, "conclude_actor": actor or None}
        return await self._change(uuid, stated, lambda case: (case.finding, case.note) == (finding, note), request)

    async def _change(
        self,
        uuid: str,
        stated: dict[str, Any],
        is_same: Callable[[EvidenceCase], bool],
        request: IdempotentRequest[EvidenceCase, M],
        *conditions: ColumnElement[bool],
    ) -> M:
        """Change a case that is not concluded. If the case is as requested already, nothing changes."""
        is_open = (_C.uuid == uuid, _C.finding == NOT_CONCLUDED, *conditions)

        def run(connection: Connection) -> EvidenceCase:
            changed = connection.execute(update(evidence_cases).where(*is_open).values(stated)).rowcount
            case = _get_case(connection, uuid)
            if not changed and not is_same(case):
                raise FailedPrecondition(
                    "CONFLICT", english("the case is concluded already"), metadata={"resource": format_case(uuid)}
                )
            record_change(connection, region=case.region)
            return case

        return await self._writer.write(request, run)


def _get_case(connection: Connection, uuid: str) -> EvidenceCase:
    row = connection.execute(select(evidence_cases).where(_C.uuid == uuid)).one_or_none()
    if row is None:
        raise NotFound.resource(format_case(uuid))
    return _from_row(row)


def _list_cases(connection: Connection, query: CaseQuery, before: str, limit: int) -> list[EvidenceCase]:
    conditions = [in_region(_C.region, query.region)]
    if before:
        conditions.append(_C.uuid < before)
    if query.kinds:
        conditions.append(_C.kind.in_(query.kinds))
    if query.findings:
        conditions.append(_C.finding.in_(query.findings))
    if query.lab:
        conditions.append(_C.lab == query.lab)
    if query.assignee:
        conditions.append(_C.assignee == query.assignee)
    if query.states:
        conditions.append(or_(*(_IN_STATE[state] for state in query.states)))
    statement = select(evidence_cases).where(*conditions).order_by(_C.uuid.desc()).limit(limit)
    return [_from_row(row) for row in connection.execute(statement)]


_IN_STATE: dict[int, ColumnElement[bool]] = {
    OPEN: and_(_C.finding == NOT_CONCLUDED, _C.assignee == ""),
    ASSIGNED: and_(_C.finding == NOT_CONCLUDED, _C.assignee != ""),
    CONCLUDED: _C.finding != NOT_CONCLUDED,
}


def _from_row(row: Row[Any]) -> EvidenceCase:
    values = dict(row._mapping)
    values["differing_fields"] = tuple(filter(None, row.differing_fields.split(",")))
    for actor in ("assign_actor", "conclude_actor"):
        values[actor] = values[actor] or ""
    return EvidenceCase(**values)
