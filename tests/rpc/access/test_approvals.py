"""Pending changes through real servers: one caller proposes, and another approves, rejects, or does nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.type.interval_pb2 import Interval
from hutong.approval.v1.approval_service_pb2 import (
    ApproveChangeRequest,
    GetPendingChangeRequest,
    ListPendingChangesRequest,
    RejectChangeRequest,
)
from hutong.approval.v1.approval_service_pb2_grpc import ApprovalServiceStub
from hutong.approval.v1.pending_change_pb2 import PendingChange, PendingChangeState
from hutong.audit.v1.audit_event_pb2 import AuditEventKind
from hutong.audit.v1.audit_service_pb2 import ListAuditEventsRequest
from hutong.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest, WithdrawPolicyRequest
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.policy.v1.policy_service_pb2 import GetPolicyRequest
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from hutong.results.v1.document_link_service_pb2 import LinkDocumentsRequest, ListLinkedDocumentsRequest
from hutong.results.v1.document_link_service_pb2_grpc import DocumentLinkServiceStub
from hutong.results.v1.results_admin_service_pb2 import RecallResultsRequest
from hutong.results.v1.results_admin_service_pb2_grpc import ResultsAdminServiceStub
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from hutong_client.cli.exit_codes import ExitCode
from sqlalchemy import create_engine, update

from services.domain.instant import DAY, HOUR, to_timestamp
from services.results.limits import ResultsLimits
from services.results.records.tables import revision_reasons
from services.runtime.clock import SystemClock
from services.runtime.server.timing import ServerTiming
from tests.support.access.command import hutong
from tests.support.access.guarded import (
    CALLERS,
    CASE,
    OTHER_LAB,
    REGION,
    Guarded,
    open_guarded,
    outcome,
    propose_unlinking,
)
from tests.support.certificates import spiffe
from tests.support.databases import SqliteDatabases
from tests.support.errors import error_info, failure_of
from tests.support.lists import read_pages
from tests.support.policy.service import make_policy
from tests.support.replaced import replace_file
from tests.support.results.factories import LAB_NAME, make_document, make_tube
from tests.support.results.node import batch_of, start
from tests.support.waiting import TIMEOUT_SECONDS, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
LI, WANG = f"supervisors/{REGION}/li", f"supervisors/{REGION}/wang"
FIRST, SECOND = "authorities/000000/first", "authorities/000000/second"
LIMIT = 2
"""Results that are recalled without a second approver here."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases
) -> AsyncIterator[Guarded]:
    limits, directory = ResultsLimits(unapproved_recall=LIMIT), tmp_path_factory.mktemp("guarded")
    denied = directory / "denied.txt"
    denied.write_text("")
    quick = ServerTiming(reload=0.05)
    async with open_guarded(directory, sqlite_databases.make, quick, limits, deny_file=str(denied)) as opened:
        yield opened


async def approvals(guarded: Guarded, caller: str, service: str = "results") -> Any:
    return ApprovalServiceStub(await guarded.channel(service, caller))


async def upload(guarded: Guarded, first: int, count: int, reported: int) -> None:
    """Upload results of as many persons, reported at one instant."""
    tubes = [make_tube(person, reported=reported, region="220502") for person in range(first, first + count)]
    uploads = UploadServiceStub(await guarded.channel("results", LAB_NAME))
    frames = iter([start(lab=LAB_NAME, upload_id=f"u{first}"), batch_of(tubes)])
    answers = [answer async for answer in uploads.UploadResults(frames, timeout=TIMEOUT_SECONDS)]
    assert answers[-1].accepted_count == count


def recall(at: int, **fields: Any) -> RecallResultsRequest:
    interval = Interval(start_time=to_timestamp(at), end_time=to_timestamp(at + HOUR))
    return RecallResultsRequest(lab=LAB_NAME, report_interval=interval, reason="a bad reagent", **fields)


def state(change: PendingChange) -> str:
    return PendingChangeState.Name(change.state).removeprefix("PENDING_CHANGE_STATE_")


async def test_a_large_recall_waits_for_a_supervisor(guarded: Guarded) -> None:
    """The laboratory proposes, and asks again how the change stands. The change is made once, by the laboratory."""
    at = SystemClock().now() - 30 * HOUR
    await upload(guarded, 100, LIMIT + 1, at)
    admin = ResultsAdminServiceStub(await guarded.channel("results", LAB_NAME))
    counted = await admin.RecallResults(recall(at, validate_only=True))
    assert (counted.recalled_count, counted.HasField("pending_change")) == (LIMIT + 1, False)
    asked = recall(at, request_id="01890000-0000-4000-8000-0000000000a1")
    answer = await admin.RecallResults(asked)
    pending = answer.pending_change
    assert (answer.recalled_count, answer.consistency_token, state(pending)) == (0, "", "PENDING")
    assert (pending.item_count, pending.region, pending.object) == (LIMIT + 1, "220502", LAB_NAME)
    assert (await admin.RecallResults(asked)).pending_change == pending
    assert (await admin.RecallResults(recall(at, validate_only=True))).recalled_count == LIMIT + 1
    own = await approvals(guarded, LAB_NAME)
    assert list((await own.ListPendingChanges(ListPendingChangesRequest())).pending_changes) == [pending]
    foreign = await approvals(guarded, OTHER_LAB)
    assert not (await foreign.ListPendingChanges(ListPendingChangesRequest())).pending_changes
    supervisor = await approvals(guarded, LI)
    seen = (await supervisor.GetPendingChange(GetPendingChangeRequest(name=pending.name))).pending_change
    proposed = RecallResultsRequest()
    assert seen.change.Unpack(proposed)
    assert proposed == recall(at)
    approved = await supervisor.ApproveChange(ApproveChangeRequest(name=pending.name))
    done = approved.pending_change
    assert (state(done), done.changed_count, done.decider) == ("APPROVED", LIMIT + 1, LI)
    assert approved.consistency_token
    assert (await supervisor.ApproveChange(ApproveChangeRequest(name=pending.name))).pending_change == done
    repeated = await admin.RecallResults(asked)
    assert (repeated.recalled_count, repeated.pending_change) == (LIMIT + 1, done)
    assert (await admin.RecallResults(recall(at, validate_only=True))).recalled_count == 0
    rejected = supervisor.RejectChange(RejectChangeRequest(name=pending.name, reason="too late"))
    assert (await failure_of(rejected))[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_PENDING")


async def test_a_recall_that_grew_is_proposed_anew(guarded: Guarded) -> None:
    at = SystemClock().now() - 60 * HOUR
    await upload(guarded, 200, LIMIT + 1, at)
    supervisor = ResultsAdminServiceStub(await guarded.channel("results", LI))
    name = (await supervisor.RecallResults(recall(at))).pending_change.name
    await upload(guarded, 210, 1, at)
    second = await approvals(guarded, WANG)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await second.ApproveChange(ApproveChangeRequest(name=name))
    assert error_info(caught.value).reason == "CHANGE_GREW"
    assert dict(error_info(caught.value).metadata) == {"proposed": str(LIMIT + 1), "now": str(LIMIT + 2)}
    assert (await supervisor.RecallResults(recall(at, validate_only=True))).recalled_count == LIMIT + 2


async def test_a_small_recall_needs_nobody(guarded: Guarded) -> None:
    at = SystemClock().now() - 90 * HOUR
    await upload(guarded, 300, LIMIT, at)
    admin = ResultsAdminServiceStub(await guarded.channel("results", LAB_NAME))
    answer = await admin.RecallResults(recall(at))
    assert (answer.recalled_count, answer.HasField("pending_change")) == (LIMIT, False)


async def test_recalls_in_small_parts_are_counted_together(guarded: Guarded) -> None:
    """The part above the limit waits, of several at one moment too. What was approved does not count."""
    at = SystemClock().now() - 300 * HOUR
    for part in range(4):
        await upload(guarded, 350 + 10 * part, 1, at + 2 * part * HOUR)
    admin = ResultsAdminServiceStub(await guarded.channel("results", LAB_NAME))
    parts = [recall(at + 2 * part * HOUR) for part in range(4)]
    answers = await asyncio.gather(*(admin.RecallResults(part) for part in parts))
    # Earlier tests have recalled LIMIT results without an approver.
    assert [(answer.recalled_count, state(answer.pending_change)) for answer in answers] == [(0, "PENDING")] * 4
    engine = create_engine(guarded.settings.results.database_url)
    with engine.begin() as connection:
        connection.execute(update(revision_reasons).values(record_time=revision_reasons.c.record_time - 2 * DAY))
    engine.dispose()
    answers = await asyncio.gather(*(admin.RecallResults(part) for part in parts))
    assert sorted(answer.recalled_count for answer in answers) == [0] * (4 - LIMIT) + [1] * LIMIT


async def test_the_proposer_does_not_approve(guarded: Guarded) -> None:
    """Another certificate of the same name does not help.

    Behind an edge, another name in a token of the same `sub` does not help either.
    """

    def signed_in(name: str, sub: str) -> tuple[Any, ...]:
        claims = {"hutong_role": "supervisor", "hutong_name": name, "hutong_region": REGION, "sub": sub}
        return (guarded.token(None, None, **claims),)

    other = guarded.clients.sign("li-again", spiffe(LI))
    name = (await propose_unlinking(guarded, LI, 400)).name
    refused = (grpc.StatusCode.PERMISSION_DENIED, "SAME_APPROVER")
    again = ApprovalServiceStub(await guarded.connect("results", other))
    assert (await failure_of(again.ApproveChange(ApproveChangeRequest(name=name))))[:2] == refused
    edge = await guarded.channel("results", CALLERS["edge"])
    at = SystemClock().now() - 120 * HOUR
    await upload(guarded, 410, LIMIT + 1, at)
    mine = ResultsAdminServiceStub(edge).RecallResults(recall(at), metadata=signed_in(LI, "4711"))
    request = ApproveChangeRequest(name=(await mine).pending_change.name)
    calls = ApprovalServiceStub(edge)
    assert (await failure_of(calls.ApproveChange(request, metadata=signed_in(WANG, "4711"))))[:2] == refused
    approved = await calls.ApproveChange(request, metadata=signed_in(WANG, "4712"))
    assert approved.pending_change.changed_count == LIMIT + 1


async def test_a_supervisors_unlinking_waits_for_another(guarded: Guarded) -> None:
    """The link stands until then. The row of the audit names the approver, and the proposer on whose behalf it acts."""
    pending = await propose_unlinking(guarded, LI, 500)
    links = DocumentLinkServiceStub(await guarded.channel("results", LI))
    listed = ListLinkedDocumentsRequest(document=make_document(500))
    (link,) = (await links.ListLinkedDocuments(listed, metadata=(CASE,))).document_links
    assert not link.HasField("unlink_time")
    assert make_document(500).number.encode() not in pending.SerializeToString()
    supervisor = await approvals(guarded, WANG)
    await supervisor.ApproveChange(ApproveChangeRequest(name=pending.name))
    (link,) = (await links.ListLinkedDocuments(listed, metadata=(CASE,))).document_links
    assert (link.unlink_actor, link.unlink_reason) == (LI, "a slip")
    audit = AuditServiceStub(await guarded.channel("results", "supervisors/000000"))
    events = (await audit.ListAuditEvents(ListAuditEventsRequest(caller=WANG, page_size=500))).audit_events
    (event,) = [event for event in events if event.object == pending.name]
    assert (event.on_behalf_of, event.method.rpartition("/")[2]) == (LI, "ApproveChange")


async def test_a_link_that_ended_meanwhile_is_not_ended_again(guarded: Guarded) -> None:
    """The documents are linked anew, and the approver has approved the end of the former link only."""
    first = await propose_unlinking(guarded, LI, 520)
    second = await propose_unlinking(guarded, WANG, 520)
    mine, others = await approvals(guarded, LI), await approvals(guarded, WANG)
    await mine.ApproveChange(ApproveChangeRequest(name=second.name))
    links = DocumentLinkServiceStub(await guarded.channel("results", LI))
    pair = {"document": make_document(520), "linked_document": make_document(530)}
    await links.LinkDocuments(LinkDocumentsRequest(**pair, reason="seen again"), metadata=(CASE,))
    gone = await failure_of(others.ApproveChange(ApproveChangeRequest(name=first.name)))
    assert gone[0] is grpc.StatusCode.NOT_FOUND
    listed = ListLinkedDocumentsRequest(document=make_document(520))
    found = (await links.ListLinkedDocuments(listed, metadata=(CASE,))).document_links
    assert [link.HasField("unlink_time") for link in found] == [False, True]


async def test_the_change_of_a_denied_proposer_is_not_approved(guarded: Guarded) -> None:
    thief = f"supervisors/{REGION}/stolen"
    pending = await propose_unlinking(guarded, thief, 540)
    denied, supervisor = guarded.settings.deny_file, await approvals(guarded, WANG)
    assert denied is not None
    replace_file(denied, spiffe(thief))
    stolen = await approvals(guarded, thief)
    request = GetPendingChangeRequest(name=pending.name)

    async def is_denied() -> bool:
        return (await outcome(stolen.GetPendingChange(request)))[0] is grpc.StatusCode.UNAUTHENTICATED

    await until(is_denied)
    refused = (grpc.StatusCode.FAILED_PRECONDITION, "PROPOSER_DENIED")
    assert (await failure_of(supervisor.ApproveChange(ApproveChangeRequest(name=pending.name))))[:2] == refused
    await supervisor.RejectChange(RejectChangeRequest(name=pending.name, reason="stolen"))


async def test_a_rejected_change_is_never_made(guarded: Guarded) -> None:
    """The proposer may take it back itself. It is listed only on request."""
    pending = await propose_unlinking(guarded, LI, 600)
    supervisor = await approvals(guarded, LI)
    rejected = await supervisor.RejectChange(RejectChangeRequest(name=pending.name, reason="by mistake"))
    assert (state(rejected.pending_change), rejected.pending_change.reject_reason) == ("REJECTED", "by mistake")
    second = await approvals(guarded, WANG)
    failure = await failure_of(second.ApproveChange(ApproveChangeRequest(name=pending.name)))
    assert failure[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_PENDING")
    for decided in (False, True):
        request = ListPendingChangesRequest(include_decided=decided, page_size=1)
        pages = await read_pages(second.ListPendingChanges, request)
        names = [change.name for page in pages for change in page.pending_changes]
        assert (pending.name in names) is decided


async def test_a_floor_and_its_withdrawal_wait_for_a_second_officer(guarded: Guarded) -> None:
    """Everything is checked when it is proposed. A supervisor does not see it, and a province's authority neither."""
    admin = PolicyAdminServiceStub(await guarded.channel("policy", FIRST))
    reader = PolicyServiceStub(await guarded.channel("policy", FIRST))
    second = await approvals(guarded, SECOND, "policy")
    floor = make_policy("jurisdictions/000000/policies/national", floor=True)
    asked = PublishPolicyRequest(policy=floor)
    proposed = await admin.PublishPolicy(asked)
    assert proposed.policy.floor
    assert state(proposed.pending_change) == "PENDING"
    missing = reader.GetPolicy(GetPolicyRequest(name=floor.name))
    assert (await failure_of(missing))[0] is grpc.StatusCode.NOT_FOUND
    for caller in (f"supervisors/{REGION}", "supervisors/000000", CALLERS["authority"]):
        others = await approvals(guarded, caller, "policy")
        hidden = await failure_of(others.ApproveChange(ApproveChangeRequest(name=proposed.pending_change.name)))
        assert hidden[0] in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}
        assert not (await others.ListPendingChanges(ListPendingChangesRequest())).pending_changes
    await second.ApproveChange(ApproveChangeRequest(name=proposed.pending_change.name))
    published = (await reader.GetPolicy(GetPolicyRequest(name=floor.name))).policy
    assert published.actor == FIRST
    assert not (await admin.PublishPolicy(asked)).HasField("pending_change")
    withdrawal = await admin.WithdrawPolicy(WithdrawPolicyRequest(name=published.name, reason="a slip"))
    assert not (await reader.GetPolicy(GetPolicyRequest(name=floor.name))).policy.HasField("withdraw_time")
    await second.ApproveChange(ApproveChangeRequest(name=withdrawal.pending_change.name))
    withdrawn = (await reader.GetPolicy(GetPolicyRequest(name=published.name))).policy
    assert (withdrawn.withdraw_actor, withdrawn.withdraw_reason) == (FIRST, "a slip")


async def test_a_floor_that_changed_meanwhile_is_proposed_anew(guarded: Guarded) -> None:
    """The older of two proposals is refused with CHANGE_OVERTAKEN once the newer one is approved.

    If the older proposal could be approved last, the older content would become the newest revision.
    """
    admin = PolicyAdminServiceStub(await guarded.channel("policy", FIRST))
    second = await approvals(guarded, SECOND, "policy")
    names = []
    for advice in ("the older", "the newer"):
        floor = make_policy("jurisdictions/000000/policies/twice", floor=True, advice=[advice])
        names.append((await admin.PublishPolicy(PublishPolicyRequest(policy=floor))).pending_change.name)
    await second.ApproveChange(ApproveChangeRequest(name=names[1]))
    overtaken = (grpc.StatusCode.FAILED_PRECONDITION, "CHANGE_OVERTAKEN")
    assert (await failure_of(second.ApproveChange(ApproveChangeRequest(name=names[0]))))[:2] == overtaken
    await second.RejectChange(RejectChangeRequest(name=names[0], reason="overtaken"))


async def test_the_command_lists_approves_and_rejects(guarded: Guarded, capsys: pytest.CaptureFixture[str]) -> None:
    """The command finds the service that has a change. A floor in a file waits for approval too."""

    async def hutong_text(caller: str, *arguments: str) -> tuple[int, str]:
        code, lines = await hutong(guarded, capsys, caller, *arguments)
        return code, "\n".join(lines)

    pending = await propose_unlinking(guarded, LI, 700)
    code, listed = await hutong_text(WANG, "pending", "list")
    assert code == ExitCode.DONE
    assert pending.name in listed
    _, text = await hutong_text(WANG, "pending", "list", "--json")
    changes = {change["name"]: change for change in json.loads(text)["pending_changes"]}
    assert changes[pending.name]["change"]["unlink_reason"] == "a slip"
    code, shown = await hutong_text(WANG, "pending", "get", pending.name)
    assert (code, shown.startswith(pending.name)) == (ExitCode.DONE, True)
    assert (await hutong_text(LI, "pending", "approve", pending.name))[0] == ExitCode.FAILED
    code, told = await hutong_text(WANG, "pending", "approve", pending.name)
    assert (code, told) == (ExitCode.DONE, f"{pending.name}: approved")
    file = guarded.directory / "floor.yaml"
    file.write_text(
        "name: jurisdictions/000000/policies/lifted\ntitle: made up\nfloor: true\npurposes: [PURPOSE_HOTEL]\n"
        "effective_start_time: '2099-01-01T00:00:00+08:00'\nnot_required: {}\n"
    )
    _, text = await hutong_text(FIRST, "policy", "apply", "-f", str(file), "--yes", "--json")
    (applied,) = json.loads(text)["policies"]
    assert applied["action"] == "waits for a second approver"
    rejected = ("pending", "reject", applied["pending_change"]["name"], "--reason", "too early")
    assert (await hutong_text(SECOND, *rejected)) == (ExitCode.DONE, f"{applied['pending_change']['name']}: rejected")
    _, listed = await hutong_text(SECOND, "pending", "list")
    assert listed == "No change waits."


async def test_an_emergency_grant_is_in_every_row_that_it_enabled(
    guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    """Opened, used and reviewed by commands. Each row of the recall says EMERGENCY, and one names the grant."""

    async def hutong_json(caller: str, *arguments: str) -> Any:
        code, lines = await hutong(guarded, capsys, caller, *arguments, "--json")
        assert code == ExitCode.DONE, lines
        return json.loads("\n".join(lines[lines.index("{") :]))

    at = SystemClock().now() - 400 * HOUR
    await upload(guarded, 800, LIMIT + 1, at)
    holder = f"supervisors/{REGION}/night"
    admin = ResultsAdminServiceStub(await guarded.channel("results", holder))
    pending = (await admin.RecallResults(recall(at))).pending_change
    opened = await hutong_json(holder, "emergency", "open", "--reason", "nobody else is here", "--minutes", "5")
    name = opened["emergency_grant"]["name"]
    assert (await hutong(guarded, capsys, holder, "emergency", "open", "--reason", "again"))[0] == ExitCode.FAILED
    approved = (await hutong_json(holder, "pending", "approve", pending.name))["pending_change"]
    assert (approved["changed_count"], approved["emergency_grant"]) == (str(LIMIT + 1), name)
    other = await hutong(guarded, capsys, LAB_NAME, "emergency", "list")
    assert other[0] == ExitCode.FAILED
    (listed,) = [
        grant
        for grant in (await hutong_json("supervisors/000000", "emergency", "list"))["emergency_grants"]
        if grant["name"] == name
    ]
    assert (listed["approved_count"], listed["reason"]) == (1, "nobody else is here")
    code, ended = await hutong(guarded, capsys, holder, "emergency", "end", name)
    assert (code, ended[-1]) == (ExitCode.DONE, f"{name}: ended, 1 changes approved")
    reviewed = await hutong_json(WANG, "emergency", "review", name, "--note", "rightly made")
    assert reviewed["emergency_grant"]["reviewer"] == WANG
    audit = AuditServiceStub(await guarded.channel("results", "supervisors/000000"))
    request = ListAuditEventsRequest(page_size=500, kinds=[AuditEventKind.AUDIT_EVENT_KIND_CHANGE])
    events = (await audit.ListAuditEvents(request)).audit_events
    assert [event.outcome for event in events if event.object == name] == ["OPENED", "USED", "ENDED", "REVIEWED"]
    (used,) = [event for event in events if (event.object, event.outcome) == (name, "USED")]
    others = [event for event in events if event.request_id == used.request_id and event != used]
    assert {event.object: (event.outcome, event.item_count) for event in others} == {
        pending.name: ("EMERGENCY", LIMIT + 1),
        LAB_NAME: ("EMERGENCY", LIMIT + 1),
    }
    assert {(event.caller, event.on_behalf_of) for event in others} == {(holder, holder)}
