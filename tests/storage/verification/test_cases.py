"""Cases are opened with the decision, once for each report and kind, and listed, assigned and concluded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
from hutong.verification.v1.evidence_case_pb2 import (
    EVIDENCE_CASE_FINDING_CLERK_ERROR,
    EVIDENCE_CASE_FINDING_FORGED,
    EVIDENCE_CASE_KIND_CONTRADICTS_RECORD,
    EVIDENCE_CASE_KIND_DENIED_BY_LAB,
    EVIDENCE_CASE_KIND_OTHER_PERSON,
    EVIDENCE_CASE_KIND_OTHER_TIMES,
)
from hutong.verification.v1.evidence_case_service_pb2 import AssignCaseRequest, AssignCaseResponse
from prometheus_client import REGISTRY

from services.domain.errors import FailedPrecondition, InvalidArgument, NotFound
from services.domain.instant import DAY
from services.runtime.ids import uuid7
from services.storage.engine import Database, open_database
from services.storage.idempotency import IdempotentRequest
from services.verification.cases.convert import case_to_proto
from services.verification.cases.model import ASSIGNED, CONCLUDED, OPEN, EvidenceCase
from services.verification.cases.store import CaseQuery, CaseStore
from services.verification.retention import Purge, RetentionAges, purge_verification
from services.verification.stored_decisions.store import StoredDecision
from tests.support.databases import MakeUrl
from tests.support.verification.showings import LAB, NOW, OTHER_LAB, keep, showing

WANG, LI = "supervisors/410100/wang", "supervisors/410100/li"


def _weighed(shown: StoredDecision, kind: int | None, *fields: str) -> StoredDecision:
    """Return a decision in which the evidence opens a case by its use."""
    changed = [one._replace(case_kind=kind, differing_fields=fields, time=NOW) for one in shown.showings]  # type: ignore[arg-type]
    return replace(shown, showings=tuple(changed))


async def _cases(database: Database, query: CaseQuery | None = None) -> list[EvidenceCase]:
    return await CaseStore(database, [b"s"]).list_cases(query or CaseQuery(), "", 100)


def _opened(kind: str) -> float:
    return REGISTRY.get_sample_value("hutong_evidence_cases_total", {"kind": kind}) or 0.0


def _requested(
    now: int = NOW, request_id: str = "", assignee: str = ""
) -> IdempotentRequest[EvidenceCase, AssignCaseResponse]:
    return IdempotentRequest(
        AssignCaseRequest(request_id=request_id, assignee=assignee),
        AssignCaseResponse,
        lambda case: AssignCaseResponse(evidence_case=case_to_proto(case)),
        now,
    )


async def test_a_case_is_opened_once_for_each_report_and_kind(database_url: MakeUrl) -> None:
    """Evidence that opens no case leaves no trace. A case names the prefecture and both decisions, and no person."""
    database = open_database(database_url("verification"))
    before = _opened("OTHER_PERSON"), _opened("CONTRADICTS_RECORD")
    first = showing(1)
    await keep(database, _weighed(first, None), _weighed(showing(9, "R9"), None))
    assert await _cases(database) == []
    denied = [_weighed(showing(1), EVIDENCE_CASE_KIND_DENIED_BY_LAB) for _ in range(2)]
    stranger, edited = showing(2), showing(1, sampled=NOW)
    contradicting = _weighed(showing(3, "R2"), EVIDENCE_CASE_KIND_CONTRADICTS_RECORD, "outcome", "sample_time")
    for one in (*denied, stranger, showing(4), edited, contradicting, contradicting):
        await keep(database, replace(one, uuid=uuid7()))
    found = {(case.report_number, case.kind): case for case in await _cases(database)}
    assert {name: (case.decision, case.other_decision) for name, case in found.items()} == {
        ("R1", EVIDENCE_CASE_KIND_DENIED_BY_LAB): (denied[0].uuid, ""),
        ("R1", EVIDENCE_CASE_KIND_OTHER_PERSON): (stranger.uuid, first.uuid),
        ("R1", EVIDENCE_CASE_KIND_OTHER_TIMES): (edited.uuid, first.uuid),
        ("R2", EVIDENCE_CASE_KIND_CONTRADICTS_RECORD): (contradicting.uuid, ""),
    }
    last = found["R2", EVIDENCE_CASE_KIND_CONTRADICTS_RECORD]
    assert last[1:] == (
        *(LAB, "R2", EVIDENCE_CASE_KIND_CONTRADICTS_RECORD, ("outcome", "sample_time"), "410100"),
        *(contradicting.uuid, "", NOW, "", None, "", 0, "", None, ""),
    )
    assert (_opened("OTHER_PERSON"), _opened("CONTRADICTS_RECORD")) == (before[0] + 1, before[1] + 1)
    database.close()


async def test_cases_are_listed_by_what_they_are_and_how_far(database_url: MakeUrl) -> None:
    database = open_database(database_url("verification"))
    store = CaseStore(database, [b"s"])
    kind = EVIDENCE_CASE_KIND_DENIED_BY_LAB
    regions = ("410105", "410300", "220502", "410105")
    for index, region in enumerate(regions):
        await keep(database, _weighed(showing(1, f"R{index}", region=region, lab=[LAB, OTHER_LAB][index % 2]), kind))
    by_number = {case.report_number: case.uuid for case in await _cases(database)}
    await store.assign(by_number["R0"], LI, WANG, _requested())
    await store.conclude(by_number["R1"], EVIDENCE_CASE_FINDING_FORGED, "", WANG, _requested())

    async def numbers(query: CaseQuery) -> list[str]:
        return [case.report_number for case in await _cases(database, query)]

    expected: Sequence[tuple[CaseQuery, list[str]]] = (
        (CaseQuery(), ["R3", "R2", "R1", "R0"]),
        (CaseQuery(region="410000"), ["R3", "R1", "R0"]),
        (CaseQuery(region="410100"), ["R3", "R0"]),
        (CaseQuery(lab=OTHER_LAB), ["R3", "R1"]),
        (CaseQuery(states=(OPEN,)), ["R3", "R2"]),
        (CaseQuery(states=(ASSIGNED, CONCLUDED)), ["R1", "R0"]),
        (CaseQuery(kinds=(EVIDENCE_CASE_KIND_OTHER_PERSON,)), []),
        (CaseQuery(findings=(EVIDENCE_CASE_FINDING_FORGED,)), ["R1"]),
        (CaseQuery(assignee=LI), ["R0"]),
    )
    for query, wanted in expected:
        assert await numbers(query) == wanted, query
    after = await store.list_cases(CaseQuery(), by_number["R2"], 1)
    assert [case.report_number for case in after] == ["R1"]
    with pytest.raises(NotFound):
        await store.get_case(uuid7())
    database.close()


async def test_a_case_is_assigned_until_it_is_concluded_for_good(database_url: MakeUrl) -> None:
    """A repetition changes nothing, and another conclusion is refused."""
    database = open_database(database_url("verification"))
    store = CaseStore(database, [b"s"])
    await keep(database, _weighed(showing(1), EVIDENCE_CASE_KIND_DENIED_BY_LAB))
    ((uuid, *_),) = await _cases(database)
    await store.assign(uuid, LI, WANG, _requested(NOW))
    await store.assign(uuid, LI, LI, _requested(NOW + 1))
    case = await store.get_case(uuid)
    assert (case.state, case.assignee, case.assign_time, case.assign_actor) == (ASSIGNED, LI, NOW, WANG)
    request_id = "0190a5e2-7c00-7000-8000-000000000001"
    twice = [await store.assign(uuid, WANG, LI, _requested(NOW + number, request_id)) for number in (2, 3)]
    assert twice[0] == twice[1]
    with pytest.raises(InvalidArgument):
        await store.assign(uuid, WANG, LI, _requested(NOW, request_id, LI))
    conclude = partial(store.conclude, uuid, request=_requested(NOW + 4))
    await conclude(finding=EVIDENCE_CASE_FINDING_FORGED, note="altered", actor=WANG)
    await conclude(finding=EVIDENCE_CASE_FINDING_FORGED, note="altered", actor=LI)
    for other in (
        conclude(finding=EVIDENCE_CASE_FINDING_CLERK_ERROR, note="altered", actor=LI),
        conclude(finding=EVIDENCE_CASE_FINDING_FORGED, note="", actor=LI),
        store.assign(uuid, LI, LI, _requested()),
    ):
        with pytest.raises(FailedPrecondition):
            await other
    case = await store.get_case(uuid)
    assert (case.state, case.assignee, case.assign_time) == (CONCLUDED, WANG, NOW + 2)
    assert (case.finding, case.note, case.conclude_time, case.conclude_actor) == (
        *(EVIDENCE_CASE_FINDING_FORGED, "altered"),
        *(NOW + 4, WANG),
    )
    # The report that is shown once more opens no second case.
    await keep(database, _weighed(showing(1), EVIDENCE_CASE_KIND_DENIED_BY_LAB))
    assert await _cases(database) == [case]
    database.close()


async def test_a_purge_removes_old_cases_and_those_of_removed_reports(database_url: MakeUrl) -> None:
    database = open_database(database_url("verification"))
    for number in ("R1", "R2"):
        await keep(database, _weighed(showing(1, number), EVIDENCE_CASE_KIND_DENIED_BY_LAB))
    ages = RetentionAges(*(1000 * DAY for _ in range(4)), cases=10 * DAY)
    gone = Purge(NOW - 20 * DAY, NOW + 9 * DAY, uuid7(), lambda names: {(LAB, "R2")} & set(names))
    assert purge_verification(database, ages, gone).cases == 1
    assert [case.report_number for case in await _cases(database)] == ["R1"]
    old = gone._replace(now=NOW + 11 * DAY, deletion_id=uuid7())
    assert purge_verification(database, ages, old).cases == 1
    database.close()
