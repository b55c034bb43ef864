"""A case is opened for a report that was shown before its laboratory denied it."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.internal.v1.internal_missing_report_service_pb2 import DeniedReport, ListDeniedReportsResponse
from hutong.verification.v1.evidence_case_pb2 import EVIDENCE_CASE_FINDING_FORGED, EVIDENCE_CASE_KIND_DENIED_BY_LAB
from hutong.verification.v1.evidence_case_service_pb2 import ConcludeCaseRequest, ConcludeCaseResponse
from sqlalchemy import delete

from services.runtime.clock import FixedClock
from services.storage.engine import Database, open_database
from services.storage.idempotency import IdempotentRequest
from services.verification.cases.convert import case_to_proto
from services.verification.cases.model import EvidenceCase
from services.verification.cases.store import CaseQuery, CaseStore
from services.verification.denials.client import NotAnswered
from services.verification.denials.opener import DeniedCaseOpener
from services.verification.showings.tables import evidence_flags
from services.verification.stored_decisions.tables import decisions
from tests.support.databases import MakeUrl
from tests.support.verification.showings import LAB, NEW, NOW, PEPPER, keep, showing
from tests.support.work import noting_statements

NEXT = Timestamp(seconds=77)


class Denied:
    """Returns pages of denied reports as Results does, and records the questions.

    A page that is None stands for no answer.
    """

    def __init__(self, *pages: list[str] | None) -> None:
        self.pages = list(pages)
        self.asked: list[tuple[int | None, str]] = []

    async def list_denied(self, start: Timestamp | None, page_token: str) -> ListDeniedReportsResponse:
        self.asked.append((None if start is None else start.seconds, page_token))
        number = int(page_token or 0)
        page = self.pages[number]
        if page is None:
            raise NotAnswered("Results answered UNAVAILABLE")
        return ListDeniedReportsResponse(
            denied_reports=[DeniedReport(lab=f"labs/{LAB}", report_number=one) for one in page],
            next_page_token=str(number + 1) if number + 1 < len(self.pages) else "",
            next_start_time=None if page_token else NEXT,
        )


async def _cases(database: Database) -> dict[str, EvidenceCase]:
    found = await CaseStore(database, [b"s"]).list_cases(CaseQuery(), "", 100)
    return {case.report_number: case for case in found}


async def test_the_first_showing_opens_one_case(database_url: MakeUrl) -> None:
    """A showing under the other pepper opens a case too.

    No case is opened if the report was never shown, or if the decision is no longer stored.
    """
    database = open_database(database_url("verification"))
    first, gone = showing(1), showing(3, "R3")
    older = showing(2, "R2", region="410300", peppers=(PEPPER,))
    await keep(database, first)
    await keep(database, older, gone)
    await keep(database, showing(1))
    forget = delete(decisions).where(decisions.c.uuid == gone.uuid)
    await database.write(lambda connection: connection.execute(forget) and None)
    opener = DeniedCaseOpener(database, Denied(["R1", "R2"], ["R3", "R4"]).list_denied, NEW, FixedClock(NOW + 5))
    await opener.open_new()
    found = await _cases(database)
    assert {number: (case.decision, case.region) for number, case in found.items()} == {
        "R1": (first.uuid, "410100"),
        "R2": (older.uuid, "410300"),
    }
    case = found["R1"]
    assert case[1:] == (
        *(LAB, "R1", EVIDENCE_CASE_KIND_DENIED_BY_LAB, (), "410100"),
        *(first.uuid, "", NOW + 5, "", None, "", 0, "", None, ""),
    )
    assert await database.read(lambda connection: connection.execute(evidence_flags.select()).all()) == []
    # A concluded case is not opened again.
    request = ConcludeCaseRequest(finding=EVIDENCE_CASE_FINDING_FORGED)
    once = IdempotentRequest(
        request, ConcludeCaseResponse, lambda one: ConcludeCaseResponse(evidence_case=case_to_proto(one)), NOW
    )
    await CaseStore(database, [b"s"]).conclude(case.uuid, EVIDENCE_CASE_FINDING_FORGED, "", "li", once)
    await opener.open_new()
    assert [one.uuid for one in (await _cases(database)).values()] == [one.uuid for one in found.values()]
    database.close()


async def test_many_reports_are_read_by_as_many_statements_as_one(database_url: MakeUrl) -> None:
    """The decisions of reports that have a case are not read again."""
    database = open_database(database_url("verification"))
    numbers = [f"R{number}" for number in range(20)]
    await keep(database, *(showing(1, number) for number in numbers))
    read = ("FROM shown_reports", "FROM evidence_cases", "FROM decisions")
    counts = []
    for page in (numbers[:1], numbers, numbers):
        with noting_statements(database.reading_engine) as statements:
            await DeniedCaseOpener(database, Denied(page).list_denied, PEPPER, FixedClock(NOW)).open_new()
        counts.append(sum(any(table in statement for table in read) for statement in statements))
    assert counts == [3, 3, 2]
    assert sorted(await _cases(database)) == sorted(numbers)
    database.close()


async def test_a_round_goes_on_where_the_last_whole_round_began(database_url: MakeUrl) -> None:
    """The first round reads all denials. A round without an answer is repeated."""
    database = open_database(database_url("verification"))
    await keep(database, showing(1, "R2"))
    denied = Denied(["R1"], None)
    opener = DeniedCaseOpener(database, denied.list_denied, PEPPER, FixedClock(NOW))
    with pytest.raises(NotAnswered):
        await opener.open_new()
    denied.pages[1] = ["R2"]
    await opener.open_new()
    assert list(await _cases(database)) == ["R2"]
    await opener.open_new()
    assert denied.asked == [(None, ""), (None, "1"), (None, ""), (None, "1"), (77, ""), (77, "1")]
    database.close()
