"""Tests of the audit by real servers over mutual TLS: every read of a person, every change and every refused call."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import grpc
import pytest
import pytest_asyncio
from hutong.approval.v1.approval_service_pb2 import GetPendingChangeRequest, ListPendingChangesRequest
from hutong.approval.v1.approval_service_pb2_grpc import ApprovalServiceStub
from hutong.audit.v1 import audit_event_pb2 as pb
from hutong.audit.v1.audit_service_pb2 import ListAuditEventsRequest
from hutong.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest
from hutong.results.internal.v1.internal_lookup_service_pb2_grpc import InternalLookupServiceStub
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest
from hutong.results.v1.document_link_service_pb2_grpc import DocumentLinkServiceStub
from hutong.results.v1.lab_pb2 import Lab
from hutong.results.v1.lab_service_pb2 import SetLabStandingRequest, UpdateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.missing_report_service_pb2 import ListMissingReportsRequest
from hutong.results.v1.missing_report_service_pb2_grpc import MissingReportServiceStub
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest
from hutong.results.v1.results_admin_service_pb2_grpc import ResultsAdminServiceStub
from hutong.results.v1.results_service_pb2 import (
    BatchLookupLatestRequest,
    GetResultRequest,
    ListResultsRequest,
    LookupLatestRequest,
    WatchResultsRequest,
)
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.type.v1 import purpose_pb2
from hutong.type.v1.identity_pb2 import IdentityDocument
from hutong.verification.v1.refusal_service_pb2 import GetRefusalRequest
from hutong.verification.v1.refusal_service_pb2_grpc import RefusalServiceStub
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    GetDecisionRequest,
    StreamVerifyRequest,
    VerifyRequest,
)
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceStub

from services.command.audit import WHO_READ, who_read
from services.runtime.audit import ON_BEHALF_OF
from services.runtime.clock import SystemClock
from services.storage.pepper_marks import marks_of
from tests.support.access.guarded import (
    CALLERS,
    CASE,
    OTHER_LAB,
    OTHER_USER,
    REGION,
    USER,
    Guarded,
    open_guarded,
    outcome,
    propose_unlinking,
)
from tests.support.databases import SqliteDatabases
from tests.support.errors import failure_of
from tests.support.lists import read_pages
from tests.support.results.factories import LAB_NAME, make_document
from tests.support.waiting import TIMEOUT_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="module")
NATION = "supervisors/000000"
STRANGER = 77
"""A person without results, about whom no other test asks."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases
) -> AsyncIterator[Guarded]:
    async with open_guarded(tmp_path_factory.mktemp("guarded"), sqlite_databases.make) as opened:
        yield opened


async def events(guarded: Guarded, service: str, **wanted: Any) -> list[pb.AuditEvent]:
    """Return all events of a service as the nation's supervisor sees them, page by page."""
    stub = AuditServiceStub(await guarded.channel(service, NATION))
    pages = await read_pages(stub.ListAuditEvents, ListAuditEventsRequest(page_size=7, **wanted))
    return [event for page in pages for event in page.audit_events]


def brief(event: pb.AuditEvent) -> tuple[str, str, str, str, int]:
    kind = pb.AuditEventKind.Name(event.kind).removeprefix("AUDIT_EVENT_KIND_")
    return kind, event.caller, event.method.rpartition("/")[2], event.code, event.item_count


Made = Callable[[], Any]


async def made_by(guarded: Guarded, service: str, call: Made) -> list[pb.AuditEvent]:
    """Make a call, and return the events that it left at a service."""
    before = {event.name for event in await events(guarded, service)}
    await call()
    return [event for event in await events(guarded, service) if event.name not in before]


def who_read_lines(guarded: Guarded, document: IdentityDocument) -> list[dict[str, Any]]:
    """Return what `hutongd audit who-read` prints, without the sums of bulk reads and the rows of earlier searches."""
    output = io.StringIO()
    asked = (document.type, document.number, document.issuing_country)
    names = ("results", "policy", "verification")
    who_read(guarded.settings, names, asked, SystemClock().now(), output)
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    return [line for line in lines if "bulk" not in line and line["method"] != WHO_READ]


def question(person: int, region: str = "220502") -> VerifyRequest:
    return VerifyRequest(document=make_document(person), region=region, purpose=purpose_pb2.PURPOSE_HOTEL)


async def test_the_changes_that_filled_the_stores_have_rows(guarded: Guarded) -> None:
    found = [brief(event) for event in await events(guarded, "results", kinds=[pb.AUDIT_EVENT_KIND_CHANGE])]
    for lab in (LAB_NAME, OTHER_LAB):
        assert ("CHANGE", lab, "UploadResults", "OK", 1) in found
    assert found.count(("CHANGE", CALLERS["operator"], "CreateLab", "OK", 1)) == 2
    refusals = await events(guarded, "verification", kinds=[pb.AUDIT_EVENT_KIND_CHANGE])
    assert [event.method.rpartition("/")[2] for event in refusals] == ["ReportRefusal"] * 2
    assert {event.region for event in refusals} == {"220502", "410105"}


async def test_a_decision_is_recorded_once_by_the_service_that_answers(guarded: Guarded) -> None:
    """The row has the region, purpose and outcome, and only the minute. Results, which was asked inside, has no row."""
    gate = VerificationServiceStub(await guarded.channel("verification", CALLERS["gate"]))
    at_results = {event.name for event in await events(guarded, "results")}

    async def verify() -> None:
        await gate.Verify(question(USER), metadata=(("x-request-id", "asked-1"),))

    (event,) = await made_by(guarded, "verification", verify)
    assert brief(event) == ("READ", CALLERS["gate"], "Verify", "OK", 1)
    assert (event.role, event.region, event.purpose) == ("gate", "220502", purpose_pb2.PURPOSE_HOTEL)
    assert event.outcome
    assert event.event_time.seconds % 60 == 0
    assert event.event_time.nanos == 0
    assert event.request_id
    assert "asked-1" not in event.request_id
    assert {event.name for event in await events(guarded, "results")} == at_results


async def test_each_person_of_a_batch_and_of_a_stream_has_a_row(guarded: Guarded) -> None:
    """The person about whom the gate may not ask has a row too."""
    gate = VerificationServiceStub(await guarded.channel("verification", CALLERS["gate"]))
    batch = BatchVerifyRequest(requests=[question(USER), question(OTHER_USER), question(USER, "410105")])
    found = await made_by(guarded, "verification", lambda: gate.BatchVerify(batch))
    assert sorted(map(brief, found)) == [
        ("DENIAL", CALLERS["gate"], "BatchVerify", "PERMISSION_DENIED", 0),
        ("READ", CALLERS["gate"], "BatchVerify", "OK", 1),
        ("READ", CALLERS["gate"], "BatchVerify", "OK", 1),
    ]

    async def stream() -> None:
        asked = [StreamVerifyRequest(correlation_id=str(one), request=question(one)) for one in (USER, OTHER_USER)]
        assert len([answer async for answer in gate.StreamVerify(iter(asked), timeout=TIMEOUT_SECONDS)]) == 2

    found = await made_by(guarded, "verification", stream)
    assert list(map(brief, found)) == [("READ", CALLERS["gate"], "StreamVerify", "OK", 1)] * 2


async def test_who_read_lists_exactly_the_reads_that_were_made(guarded: Guarded) -> None:
    """The reads are by a gate, by the person's app and by the node itself, and also by a linked document."""
    app = CALLERS["app"]
    document, passport = (
        make_document(STRANGER),
        IdentityDocument(type=5, number="E12345678", issuing_country="FRA", name="Jean Dupont"),
    )
    assert who_read_lines(guarded, document) == []
    gate = VerificationServiceStub(await guarded.channel("verification", CALLERS["gate"]))
    results = ResultsServiceStub(await guarded.channel("results", app))
    signed_in = (CASE, guarded.token(guarded.certificate(app), STRANGER))
    for _ in range(2):
        await gate.Verify(question(STRANGER))
    await gate.Verify(question(USER))
    await results.LookupLatest(LookupLatestRequest(document=document), metadata=signed_in)
    refused = results.LookupLatest(LookupLatestRequest(document=document), metadata=guarded.metadata(app))
    assert (await failure_of(refused))[0] is grpc.StatusCode.PERMISSION_DENIED
    supervisor = CALLERS["supervisor"]
    links = DocumentLinkServiceStub(await guarded.channel("results", supervisor))
    link = LinkDocumentsRequest(document=document, linked_document=passport, reason="one person")
    await links.LinkDocuments(link, metadata=(CASE,))
    abroad = VerifyRequest(document=passport, region="220502", purpose=purpose_pb2.PURPOSE_HOTEL)
    await gate.Verify(abroad)
    wanted = [
        ("results", "CHANGE", supervisor, "LinkDocuments"),
        ("results", "CHANGE", supervisor, "LinkDocuments"),
        ("results", "DENIAL", app, "LookupLatest"),
        ("results", "READ", app, "LookupLatest"),
        ("verification", "READ", CALLERS["gate"], "Verify"),
        ("verification", "READ", CALLERS["gate"], "Verify"),
        ("verification", "READ", CALLERS["gate"], "Verify"),
    ]
    for shown in (document, passport):
        lines = who_read_lines(guarded, shown)
        found = [(it["service"], it["kind"], it["caller"], it["method"].rpartition("/")[2]) for it in lines]
        assert sorted(found) == wanted
        assert document.number not in str(lines)


async def test_a_result_by_its_name_is_a_read_of_its_person(guarded: Guarded) -> None:
    lab = ResultsServiceStub(await guarded.channel("results", LAB_NAME))
    name = f"{LAB_NAME}/results/R{USER}"
    before = len(who_read_lines(guarded, make_document(USER)))
    (event,) = await made_by(guarded, "results", lambda: lab.GetResult(GetResultRequest(name=name)))
    assert brief(event) == ("READ", LAB_NAME, "GetResult", "OK", 1)
    assert event.object.startswith("results/")
    assert f"R{USER}" not in event.object.removeprefix("results/")
    assert len(who_read_lines(guarded, make_document(USER))) == before + 1


async def test_a_decision_by_its_name_is_a_read_of_its_person(guarded: Guarded) -> None:
    """Decisions do not show whom they are about. The number in hand finds them, and the rows of their reads."""
    supervisor = VerificationServiceStub(await guarded.channel("verification", CALLERS["supervisor"]))
    before = len(who_read_lines(guarded, make_document(USER)))
    others = len(who_read_lines(guarded, make_document(OTHER_USER)))
    request = GetDecisionRequest(name=guarded.decisions["own"])
    await supervisor.GetDecision(request, metadata=(CASE,))
    lines = who_read_lines(guarded, make_document(USER))
    assert len(lines) == before + 1
    assert [it["method"].rpartition("/")[2] for it in lines if "decisions/" in it.get("object", "")] == ["GetDecision"]
    assert len(who_read_lines(guarded, make_document(OTHER_USER))) == others


async def test_what_does_not_exist_is_recorded_and_another_ones_object_is_a_denial(guarded: Guarded) -> None:
    lab = ResultsServiceStub(await guarded.channel("results", LAB_NAME))
    missing = GetResultRequest(name=f"{LAB_NAME}/results/R999")
    (event,) = await made_by(guarded, "results", lambda: failure_of(lab.GetResult(missing)))
    assert brief(event) == ("READ", LAB_NAME, "GetResult", "NOT_FOUND", 0)
    other = GetResultRequest(name=f"{OTHER_LAB}/results/R2")
    (event,) = await made_by(guarded, "results", lambda: failure_of(lab.GetResult(other)))
    assert brief(event) == ("DENIAL", LAB_NAME, "GetResult", "NOT_FOUND", 0)
    refusals = RefusalServiceStub(await guarded.channel("verification", CALLERS["supervisor"]))
    theirs = GetRefusalRequest(name=guarded.refusals["other"])
    (event,) = await made_by(guarded, "verification", lambda: failure_of(refusals.GetRefusal(theirs)))
    assert brief(event) == ("DENIAL", CALLERS["supervisor"], "GetRefusal", "NOT_FOUND", 0)


async def test_pages_and_watches_are_recorded_with_their_counts(guarded: Guarded) -> None:
    lab = ResultsServiceStub(await guarded.channel("results", LAB_NAME))
    listing = ListResultsRequest(lab=LAB_NAME)
    (event,) = await made_by(guarded, "results", lambda: lab.ListResults(listing))
    assert brief(event) == ("READ", LAB_NAME, "ListResults", "OK", 1)
    assert event.object == LAB_NAME

    async def watch() -> None:
        call = lab.WatchResults(WatchResultsRequest(), timeout=TIMEOUT_SECONDS)
        while not (await call.read()).HasField("checkpoint"):
            pass
        call.cancel()

    (event,) = await made_by(guarded, "results", watch)
    assert brief(event) == ("READ", LAB_NAME, "WatchResults", "OK", 1)


async def test_only_verification_is_believed_for_whom_it_calls(guarded: Guarded) -> None:
    """Verification's own reads have no event at Results. Reads without a name, or from another caller, have one."""
    request = BatchLookupLatestRequest(requests=[LookupLatestRequest(document=make_document(USER))])
    named = ((ON_BEHALF_OF, CALLERS["gate"]),)
    own = ResultsServiceStub(await guarded.channel("results", CALLERS["verification"]))
    inner = InternalLookupServiceStub(await guarded.channel("results", CALLERS["verification"]))
    pepper = guarded.settings.pepper()
    keyed = BatchLookupColumnsRequest()
    keyed.keyed.add(pepper_marks=marks_of(pepper), subject_keys=[bytes([number]) * 16 for number in (1, 2)])
    app, metadata = CALLERS["app"], guarded.metadata(CALLERS["app"])
    users = ResultsServiceStub(await guarded.channel("results", app))
    calls: Sequence[tuple[Made, list[str]]] = (
        (lambda: own.BatchLookupLatest(request, metadata=named), []),
        (lambda: own.BatchLookupLatest(request), [CALLERS["verification"]]),
        (lambda: inner.BatchLookupColumns(keyed, metadata=named), []),
        (lambda: inner.BatchLookupColumns(keyed), [CALLERS["verification"]] * 2),
        (lambda: users.BatchLookupLatest(request, metadata=(*metadata, *named)), [app]),
    )
    for call, callers in calls:
        found = await made_by(guarded, "results", call)
        assert [event.caller for event in found] == callers
        assert {event.on_behalf_of for event in found} <= {""}


async def test_a_change_of_a_laboratory_has_a_row(guarded: Guarded) -> None:
    labs = LabServiceStub(await guarded.channel("results", CALLERS["operator"]))
    request = UpdateLabRequest(lab=Lab(name=OTHER_LAB, contact="0379-1"))
    (event,) = await made_by(guarded, "results", lambda: labs.UpdateLab(request))
    assert brief(event) == ("CHANGE", CALLERS["operator"], "UpdateLab", "OK", 1)


async def test_refused_changes_leave_a_denial_and_failed_ones_nothing(guarded: Guarded) -> None:
    labs = LabServiceStub(await guarded.channel("results", CALLERS["gate"]))
    (event,) = await made_by(
        guarded, "results", lambda: failure_of(labs.SetLabStanding(SetLabStandingRequest(name=LAB_NAME)))
    )
    assert brief(event) == ("DENIAL", CALLERS["gate"], "SetLabStanding", "PERMISSION_DENIED", 0)
    admin = ResultsAdminServiceStub(await guarded.channel("results", LAB_NAME))
    impossible = CorrectResultRequest(name=f"{LAB_NAME}/results/R{USER}", outcome=2, reason="x")
    impossible.sample_time.seconds = 4_000_000_000
    code = []

    async def correct() -> None:
        code.append((await outcome(admin.CorrectResult(impossible)))[0])

    assert await made_by(guarded, "results", correct) == []
    assert code != [grpc.StatusCode.OK]


async def test_a_caller_that_is_no_longer_accepted_is_named(guarded: Guarded) -> None:
    """A caller without an accepted role is named by its certificate.

    Here its token is bad; a caller on the deny-list is treated alike.
    """
    labs = LabServiceStub(await guarded.channel("results", CALLERS["app"]))
    bad = (("authorization", "Bearer none"),)
    (event,) = await made_by(
        guarded, "results", lambda: failure_of(labs.SetLabStanding(SetLabStandingRequest(name=LAB_NAME), metadata=bad))
    )
    assert brief(event) == ("DENIAL", CALLERS["app"], "SetLabStanding", "UNAUTHENTICATED", 0)
    assert event.role == ""


async def test_a_supervisor_sees_its_region(guarded: Guarded) -> None:
    """Reads and denials of its region, whatever region it asks for. No other role sees any."""
    own = AuditServiceStub(await guarded.channel("verification", CALLERS["supervisor"]))
    seen = await own.ListAuditEvents(ListAuditEventsRequest(page_size=500))
    regions = {event.region for event in seen.audit_events}
    assert regions
    assert all(region.startswith(REGION[:2]) for region in regions)
    assert len(seen.audit_events) < len(await events(guarded, "verification"))
    gate = AuditServiceStub(await guarded.channel("verification", CALLERS["gate"]))
    refused = await failure_of(gate.ListAuditEvents(ListAuditEventsRequest()))
    assert refused[0] is grpc.StatusCode.PERMISSION_DENIED
    of_one = await events(guarded, "verification", caller=CALLERS["gate"])
    assert {event.caller for event in of_one} == {CALLERS["gate"]}
    refused = await failure_of(own.ListAuditEvents(ListAuditEventsRequest(caller="\0")))
    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["caller"])


async def test_a_pending_unlinking_is_a_read_of_both_persons(guarded: Guarded) -> None:
    """The masks show whom the change is about.

    A page with unlinkings has a row with their count; other pages have none.
    """
    document = make_document(640)
    pending = await propose_unlinking(guarded, f"supervisors/{REGION}/li", 640)
    supervisor = CALLERS["supervisor"]
    approvals = ApprovalServiceStub(await guarded.channel("results", supervisor))
    before = len(who_read_lines(guarded, document))
    shown = GetPendingChangeRequest(name=pending.name)
    found = await made_by(guarded, "results", lambda: approvals.GetPendingChange(shown))
    assert list(map(brief, found)) == [("READ", supervisor, "GetPendingChange", "OK", 1)] * 2
    assert {event.object for event in found} == {pending.name}
    assert len(who_read_lines(guarded, document)) == before + 2
    request = ListPendingChangesRequest()
    (event,) = await made_by(guarded, "results", lambda: approvals.ListPendingChanges(request))
    assert brief(event)[:4] == ("READ", supervisor, "ListPendingChanges", "OK")
    assert event.item_count >= 1
    lab = ApprovalServiceStub(await guarded.channel("results", LAB_NAME))
    assert await made_by(guarded, "results", lambda: lab.ListPendingChanges(request)) == []


async def test_a_page_of_missing_reports_is_a_read(guarded: Guarded) -> None:
    """The laboratory knows the holder of each report, so the page is a read."""
    lab = MissingReportServiceStub(await guarded.channel("results", LAB_NAME))
    (event,) = await made_by(guarded, "results", lambda: lab.ListMissingReports(ListMissingReportsRequest()))
    assert brief(event) == ("READ", LAB_NAME, "ListMissingReports", "OK", 0)


async def test_the_case_of_a_call_is_recorded(guarded: Guarded) -> None:
    """The case is recorded with reads and with changes. A case that contains a document's number is refused."""
    supervisor = CALLERS["supervisor"]
    decisions = VerificationServiceStub(await guarded.channel("verification", supervisor))
    request = GetDecisionRequest(name=guarded.decisions["own"])

    def get(case: str) -> Any:
        return outcome(decisions.GetDecision(request, metadata=(("hutong-case", case),)))

    (event,) = await made_by(guarded, "verification", lambda: get("2022/7 a"))
    assert (event.code, event.case_id) == ("OK", "2022/7 a")
    for case in (make_document(USER).number, "back\\slash", " "):
        (event,) = await made_by(guarded, "verification", partial(get, case))
        assert (event.code, event.case_id) == ("PERMISSION_DENIED", "")
    links = DocumentLinkServiceStub(await guarded.channel("results", supervisor))
    link = LinkDocumentsRequest(document=make_document(660), linked_document=make_document(661), reason="one person")
    found = await made_by(guarded, "results", lambda: links.LinkDocuments(link, metadata=(CASE,)))
    assert {event.case_id for event in found} == {CASE[1]}
