"""Tests who changed what: supervisors see the caller beside each change, and others do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from hutong.approval.v1.approval_service_pb2 import (
    ApproveChangeRequest,
    ListPendingChangesRequest,
    OpenEmergencyGrantRequest,
)
from hutong.approval.v1.approval_service_pb2_grpc import ApprovalServiceStub
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest, WithdrawPolicyRequest
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.policy.v1.policy_service_pb2 import GetPolicyRequest, ListPoliciesRequest
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from hutong.results.v1 import lab_pb2
from hutong.results.v1.document_link_service_pb2 import (
    LinkDocumentsRequest,
    ListLinkedDocumentsRequest,
    UnlinkDocumentsRequest,
)
from hutong.results.v1.document_link_service_pb2_grpc import DocumentLinkServiceStub
from hutong.results.v1.lab_service_pb2 import GetLabRequest, ListLabsRequest, SetLabStandingRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.type.v1 import purpose_pb2, refusal_ground_pb2
from hutong.verification.v1.refusal_service_pb2 import AnswerRefusalRequest, GetRefusalRequest, ReportRefusalRequest
from hutong.verification.v1.refusal_service_pb2_grpc import RefusalServiceStub

from services.domain.instant import HOUR, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.access.guarded import (
    CALLERS,
    CASE,
    CONTACT,
    ELSEWHERE,
    OTHER_USER,
    REGION,
    USER,
    Guarded,
    open_guarded,
    propose_unlinking,
)
from tests.support.databases import SqliteDatabases
from tests.support.errors import failure_of
from tests.support.policy.service import make_policy
from tests.support.results.factories import LAB_NAME, make_document

pytestmark = pytest.mark.asyncio(loop_scope="module")
SUPERVISOR, APP, AUTHORITY = CALLERS["supervisor"], CALLERS["app"], CALLERS["authority"]
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, sqlite_databases: SqliteDatabases
) -> AsyncIterator[Guarded]:
    async with open_guarded(tmp_path_factory.mktemp("guarded"), sqlite_databases.make) as opened:
        yield opened


def signed_in(guarded: Guarded, *others: int) -> Any:
    """Return the metadata of the app's user, with a token that names further documents of that person."""
    named = [{"type": "RESIDENT_ID_CARD", "number": make_document(other).number} for other in others]
    return (guarded.token(guarded.certificate(APP), hutong_other_documents=named),)


async def test_a_standing_names_who_set_it(guarded: Guarded) -> None:
    """The first one names who registered the laboratory. The register is public, and callers are not part of it."""
    stub = LabServiceStub(await guarded.channel("results", SUPERVISOR))
    warned = lab_pb2.LAB_STANDING_WARNED
    answer = await stub.SetLabStanding(SetLabStandingRequest(name=LAB_NAME, standing=warned, reason="late"))
    assert [change.actor for change in answer.lab.standing_changes] == [CALLERS["operator"], SUPERVISOR]
    seen = {}
    for role in ("supervisor", "operator", "gate", "lab"):
        reader = LabServiceStub(await guarded.channel("results", CALLERS[role]))
        lab = (await reader.GetLab(GetLabRequest(name=LAB_NAME))).lab
        seen[role] = [change.actor for change in lab.standing_changes]
    shown = [CALLERS["operator"], SUPERVISOR]
    assert seen == {"supervisor": shown, "operator": shown, "gate": ["", ""], "lab": ["", ""]}


async def test_a_contact_is_for_supervisors_and_operators(guarded: Guarded) -> None:
    """The register is public, and whom to call at a laboratory is not."""
    seen = {}
    for role in ("supervisor", "operator", "gate", "lab", "app", "authority"):
        reader = LabServiceStub(await guarded.channel("results", CALLERS[role]))
        lab = (await reader.GetLab(GetLabRequest(name=LAB_NAME))).lab
        (listed,) = (await reader.ListLabs(ListLabsRequest(page_size=1))).labs
        assert (lab.display_name, lab.contact) == (listed.display_name, listed.contact)
        seen[role] = lab.contact
    assert seen == {"supervisor": CONTACT, "operator": CONTACT, "gate": "", "lab": "", "app": "", "authority": ""}


async def test_a_link_names_who_made_and_ended_it(guarded: Guarded) -> None:
    """An app links only what its user's token names."""
    app = DocumentLinkServiceStub(await guarded.channel("results", APP))
    supervisor = DocumentLinkServiceStub(await guarded.channel("results", SUPERVISOR))
    document, linked = make_document(USER), make_document(7)
    link = LinkDocumentsRequest(document=document, linked_document=linked, reason="both seen")
    assert (await failure_of(app.LinkDocuments(link, metadata=signed_in(guarded))))[:2] == DENIED
    assert (await failure_of(app.LinkDocuments(link, metadata=signed_in(guarded, 8))))[:2] == DENIED
    answer = await app.LinkDocuments(link, metadata=signed_in(guarded, 8, 7))
    assert answer.document_link.actor == ""
    end = UnlinkDocumentsRequest(document=document, linked_document=linked, reason="a slip")
    pending = (await supervisor.UnlinkDocuments(end, metadata=(CASE,))).pending_change
    second = ApprovalServiceStub(await guarded.channel("results", f"supervisors/{REGION}/first"))
    await second.ApproveChange(ApproveChangeRequest(name=pending.name))
    listed = ListLinkedDocumentsRequest(document=document)
    (own,) = (await app.ListLinkedDocuments(listed, metadata=signed_in(guarded))).document_links
    (seen,) = (await supervisor.ListLinkedDocuments(listed, metadata=(CASE,))).document_links
    assert (own.actor, own.unlink_actor) == ("", "")
    assert (seen.actor, seen.unlink_actor) == (APP, SUPERVISOR)


async def test_a_case_is_more_than_spaces(guarded: Guarded) -> None:
    supervisor = DocumentLinkServiceStub(await guarded.channel("results", SUPERVISOR))
    listed = ListLinkedDocumentsRequest(document=make_document(USER))
    for case, permitted in (("   ", False), ("c" * 65, False), (" 7 ", True)):
        code = await supervisor.ListLinkedDocuments(listed, metadata=(("hutong-case", case),)).code()
        assert (code is grpc.StatusCode.OK) is permitted, case


async def test_a_policy_names_who_published_and_withdrew_it(guarded: Guarded) -> None:
    admin = PolicyAdminServiceStub(await guarded.channel("policy", AUTHORITY))
    policy = make_policy(f"jurisdictions/{REGION}/policies/hotel")
    name = (await admin.PublishPolicy(PublishPolicyRequest(policy=policy))).policy.name
    await admin.WithdrawPolicy(WithdrawPolicyRequest(name=name, reason="a slip"))
    for role, shown in (("authority", AUTHORITY), ("supervisor", AUTHORITY), ("gate", ""), ("node", "")):
        reader = PolicyServiceStub(await guarded.channel("policy", CALLERS[role]))
        found = (await reader.GetPolicy(GetPolicyRequest(name=name))).policy
        assert (found.actor, found.withdraw_actor) == (shown, shown), role
        (listed,) = (await reader.ListPolicies(ListPoliciesRequest())).policies
        assert (listed.actor, listed.content_hash) == (shown, found.content_hash)


async def test_an_answer_names_who_gave_it(guarded: Guarded) -> None:
    supervisor = RefusalServiceStub(await guarded.channel("verification", SUPERVISOR))
    app = RefusalServiceStub(await guarded.channel("verification", APP))
    asked = GetRefusalRequest(name=guarded.refusals["own"])
    await supervisor.AnswerRefusal(AnswerRefusalRequest(name=asked.name, answer="the place was told"))
    assert (await supervisor.GetRefusal(asked)).refusal.answer_actor == SUPERVISOR
    assert (await app.GetRefusal(asked, metadata=signed_in(guarded))).refusal.answer_actor == ""


async def test_a_refusal_names_no_decision_about_another_person(guarded: Guarded) -> None:
    """Without a document too. Another person's decision answers as one that does not exist."""
    app = RefusalServiceStub(await guarded.channel("verification", APP))
    report = ReportRefusalRequest(
        region="220502",
        purpose=purpose_pb2.PURPOSE_HOTEL,
        refuse_time=to_timestamp(SystemClock().now() - HOUR),
        grounds=[refusal_ground_pb2.REFUSAL_GROUND_NO_PROOF],
        decision=guarded.decisions["other"],
    )
    failure = await failure_of(app.ReportRefusal(report, metadata=signed_in(guarded)))
    assert failure[:2] == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    await app.ReportRefusal(report, metadata=signed_in(guarded, OTHER_USER))
    report.decision = guarded.decisions["own"]
    assert (await app.ReportRefusal(report, metadata=signed_in(guarded))).refusal.decision == report.decision


async def test_a_repeated_request_is_answered_to_its_caller_alone(guarded: Guarded) -> None:
    """Another caller of the role, in the same region or elsewhere, gets neither the answer nor the change.

    The requests state no region, so that they are permitted to every caller of the role.
    """
    request = OpenEmergencyGrantRequest(reason="a drill", request_id="01890000-0000-4000-8000-0000000000d1")
    first = ApprovalServiceStub(await guarded.channel("results", f"supervisors/{REGION}/once"))
    opened = await first.OpenEmergencyGrant(request)
    assert await first.OpenEmergencyGrant(request) == opened
    for other in (SUPERVISOR, ELSEWHERE["supervisor"]):
        stub = ApprovalServiceStub(await guarded.channel("results", other))
        failure = await failure_of(stub.OpenEmergencyGrant(request))
        assert failure == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED", ["request_id"]), other
    report = ReportRefusalRequest(
        region="220502",
        purpose=purpose_pb2.PURPOSE_HOTEL,
        refuse_time=to_timestamp(SystemClock().now() - HOUR),
        grounds=[refusal_ground_pb2.REFUSAL_GROUND_NO_PROOF],
        request_id="01890000-0000-4000-8000-0000000000d2",
    )
    apps = {name: RefusalServiceStub(await guarded.channel("verification", name)) for name in (APP, "apps/other")}
    own = await apps[APP].ReportRefusal(report, metadata=guarded.metadata(APP))
    assert own.code
    assert await apps[APP].ReportRefusal(report, metadata=guarded.metadata(APP)) == own
    theirs = apps["apps/other"].ReportRefusal(report, metadata=guarded.metadata("apps/other"))
    assert (await failure_of(theirs))[1] == "REQUEST_ID_REUSED"


async def test_a_page_token_shows_nothing_that_is_not_the_callers(guarded: Guarded) -> None:
    """A request without a region is narrowed to the caller's own, and so is its token."""
    await propose_unlinking(guarded, f"supervisors/{REGION}/first", 900)
    own = ApprovalServiceStub(await guarded.channel("results", SUPERVISOR))
    page = await own.ListPendingChanges(ListPendingChangesRequest(page_size=1))
    further = ListPendingChangesRequest(page_size=1, page_token=page.next_page_token)
    assert (await own.ListPendingChanges(further)).pending_changes
    for other in (ELSEWHERE["supervisor"], LAB_NAME, AUTHORITY):
        stub = ApprovalServiceStub(await guarded.channel("results", other))
        if other == AUTHORITY:
            # The request is the same as the supervisor's. The list has only what the role may decide.
            assert not (await stub.ListPendingChanges(further)).pending_changes
        else:
            assert (await failure_of(stub.ListPendingChanges(further)))[1] == "INVALID_PAGE_TOKEN", other
