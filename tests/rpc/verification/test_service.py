"""Verification through real Results and Policy, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from hutong.access.v1.access_pb2 import VIEW_MINIMAL
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.results.v1 import lookup_pb2, next_step_pb2
from hutong.results.v1.lab_pb2 import LabSigningKey
from hutong.results.v1.lab_service_pb2 import SetLabSigningKeyRequest
from hutong.results.v1.missing_report_pb2 import MISSING_REPORT_ANSWER_NOT_OURS
from hutong.results.v1.missing_report_service_pb2 import AnswerMissingReportRequest
from hutong.type.v1 import outcome_pb2, purpose_pb2, refusal_ground_pb2
from hutong.type.v1.channel_pb2 import CHANNEL_PAPER_REPORT
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1 import verification_service_pb2 as service
from hutong.verification.v1.evidence_case_pb2 import (
    EVIDENCE_CASE_FINDING_FORGED,
    EVIDENCE_CASE_KIND_DENIED_BY_LAB,
    EVIDENCE_CASE_STATE_CONCLUDED,
    EVIDENCE_CASE_STATE_OPEN,
    EvidenceCase,
)
from hutong.verification.v1.evidence_case_service_pb2 import (
    AssignCaseRequest,
    ConcludeCaseRequest,
    GetCaseRequest,
    ListCasesRequest,
)
from hutong.verification.v1.evidence_flag_pb2 import (
    EVIDENCE_FLAG_KIND_NUMBER_WITHOUT_DIGIT,
    EVIDENCE_FLAG_KIND_OTHER_PERSON,
    EVIDENCE_FLAG_KIND_SIGNATURE_NOT_VALID,
    EVIDENCE_FLAG_KIND_SIGNED_FOR_OTHER_DOCUMENT,
)
from hutong.verification.v1.evidence_flag_service_pb2 import ListEvidenceFlagsRequest
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong.verification.v1.refusal_service_pb2 import ReportRefusalRequest
from hutong_client.formatting import source_name
from hutong_client.reports import signed as signed_reports
from hutong_client.reports.signed import SignedReport

from services.domain.instant import HOUR, MINUTE, SECOND, to_timestamp
from services.runtime.clock import SystemClock
from services.verification.decision.decide import RULES_VERSION
from tests.support.errors import detail_of, error_info, field_violations
from tests.support.verification.node import ALL, LAB, NUMBERS, Callers, Node, calling, document, paper, question
from tests.support.waiting import until

ANTIGEN, HEPATITIS = "items/sars-cov-2-antigen", "items/hepatitis-b"
pytestmark = pytest.mark.asyncio(loop_scope="module")
_reports = count()


def _report() -> str:
    return f"R{next(_reports)}"


def _person(index: int) -> str:
    """A made-up person of their own for a test: the check character is that of ISO 7064 MOD 11-2."""
    digits = f"41010518{70 + index // 28 % 30:02d}02{index % 28 + 1:02d}{index % 1000:03d}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return digits + "10X98765432"[sum(w * int(d) for w, d in zip(weights, digits, strict=True)) % 11]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the node has its files."""
    return tmp_path_factory.mktemp("node")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(directory: Path) -> AsyncIterator[Callers]:
    """A node with one laboratory; venues in Zhengzhou ask for 48 hours, those in Kaifeng for nothing."""
    node = Node(directory)
    try:
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            await callers.create_lab()
            await callers.publish("410100", 48 * HOUR)
            await callers.publish("410200", None)
            yield callers
    finally:
        await node.close()


async def test_recorded_negative_is_recognized_until_the_window_ends(callers: Callers) -> None:
    """Tested in Jilin, at a Zhengzhou hotel one minute before and one minute after 48 hours."""
    reported = SystemClock().now() - 3 * HOUR
    report = _report()
    await callers.upload(NUMBERS[0], report, reported)
    before = question(NUMBERS[0], use_time=to_timestamp(reported + 48 * HOUR - MINUTE))
    after = question(NUMBERS[0], use_time=to_timestamp(reported + 48 * HOUR + MINUTE))
    decision = (await callers.decisions.Verify(before)).decision
    assert (decision.outcome, decision.basis) == (pb.DECISION_OUTCOME_RECOGNIZED, pb.DECISION_BASIS_RECORD)
    assert decision.result == f"{LAB}/results/{report}@1"
    assert decision.expire_time == to_timestamp(reported + 48 * HOUR)
    assert decision.governing_policy == "jurisdictions/410100/policies/venue@1"
    assert (decision.action, decision.then_action) == (pb.GATE_ACTION_LET_IN, pb.GATE_ACTION_UNSPECIFIED)
    assert not decision.name, "a positive decision on a record is not stored"
    assert {source_name(source) for source in decision.sources} == {"nodes/000000/results", "nodes/000000/policy"}
    late = (await callers.decisions.Verify(after)).decision
    assert (late.outcome, late.reason) == (pb.DECISION_OUTCOME_NOT_RECOGNIZED, pb.DECISION_REASON_EXPIRED)
    assert late.refusal_permitted, "the nation answered, and the rule permits it"
    assert (late.action, late.must_register) == (pb.GATE_ACTION_MAY_BE_REFUSED, False)
    assert late.name


async def test_paper_without_a_record_is_recognized_and_the_laboratory_reminded(callers: Callers) -> None:
    """The evidence has equal force. The decision is stored, and names the report that is to be uploaded."""
    shown = paper("NOT-UPLOADED", SystemClock().now() - HOUR)
    decision = (await callers.decisions.Verify(question(_person(1), evidence=[shown]))).decision
    assert (decision.outcome, decision.basis) == (pb.DECISION_OUTCOME_RECOGNIZED, pb.DECISION_BASIS_PRESENTED)
    assert [(one.action, one.lab, one.report_number) for one in decision.next_steps] == [
        (next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT, LAB, "NOT-UPLOADED")
    ]
    stored = await callers.decisions.GetDecision(service.GetDecisionRequest(name=decision.name))
    assert stored.decision == decision
    assert stored.inputs.evidence[0] == shown
    assert stored.inputs.claims[0].state == lookup_pb2.CLAIMED_REPORT_MATCH_STATE_NOT_FOUND


async def test_paper_that_its_laboratory_denies_counts_for_nothing_and_is_a_case(callers: Callers) -> None:
    """The paper counted until the laboratory answered. A later record counts, whatever the laboratory has answered."""
    reported = SystemClock().now() - HOUR
    asked = question(_person(97), evidence=[paper("DENIED-1", reported)])
    first = (await callers.decisions.Verify(asked)).decision
    assert first.reason == pb.DECISION_REASON_VALID
    denial = AnswerMissingReportRequest(name=f"{LAB}/missingReports/DENIED-1", answer=MISSING_REPORT_ANSWER_NOT_OURS)

    async def is_denied() -> bool:
        """Deny the report, once it is stored as missing."""
        call = callers.missing_reports.AnswerMissingReport(denial)
        return await call.code() == grpc.StatusCode.OK

    await until(is_denied)
    request = ListCasesRequest(region="410000", states=[EVIDENCE_CASE_STATE_OPEN], lab=LAB, page_size=500)

    async def list_cases() -> list[EvidenceCase]:
        listed = (await callers.cases.ListCases(request)).evidence_cases
        return [it for it in listed if it.report_number == "DENIED-1"]

    # The earlier showing opens the case, although nobody shows the report again.
    await until(list_cases)
    # The denial counts in the next decision at once.
    decision = (await callers.decisions.Verify(asked)).decision
    assert (decision.reason, decision.refusal_permitted) == (pb.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD, True)
    (considered,) = decision.considered
    assert considered.use == pb.EVIDENCE_USE_DENIED_BY_LAB
    assert considered.lab_answer.answer == MISSING_REPORT_ANSWER_NOT_OURS
    assert [one.action for one in decision.next_steps] == [next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE]
    replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=decision.name))
    assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL
    await callers.decisions.Verify(asked)
    cases = await list_cases()
    assert [(it.kind, it.region, it.decision) for it in cases] == [
        (EVIDENCE_CASE_KIND_DENIED_BY_LAB, "410100", first.name)
    ]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await callers.cases.AssignCase(AssignCaseRequest(name=cases[0].name, assignee=f"supervisors/{NUMBERS[0]}"))
    assert error_info(refused.value).metadata["field"] == "assignee"
    officer = "supervisors/410100/li"
    assign = AssignCaseRequest(name=cases[0].name, assignee=officer)
    assert (await callers.cases.AssignCase(assign)).evidence_case.assignee == officer
    number = NUMBERS[0]
    conclude = ConcludeCaseRequest(name=cases[0].name, finding=EVIDENCE_CASE_FINDING_FORGED, note=f"by {number}")
    concluded = (await callers.cases.ConcludeCase(conclude)).evidence_case
    assert (concluded.state, concluded.finding) == (EVIDENCE_CASE_STATE_CONCLUDED, EVIDENCE_CASE_FINDING_FORGED)
    assert number not in concluded.note
    assert (await callers.cases.GetCase(GetCaseRequest(name=cases[0].name))).evidence_case == concluded
    await callers.upload(_person(97), "DENIED-1", reported)
    assert (await callers.decisions.Verify(asked)).decision.basis == pb.DECISION_BASIS_RECORD


async def test_paper_of_a_second_person_is_recognized_and_flagged_for_officers(callers: Callers) -> None:
    """The answer is that of any paper. The stored decision and the list of flags name both showings."""
    asked = [question(_person(index), evidence=[paper("SHARED-1", SystemClock().now() - HOUR)]) for index in (91, 92)]
    asked[1].evidence[0].CopyFrom(asked[0].evidence[0])
    verified = [(await callers.decisions.Verify(one)).decision for one in asked]
    assert [(one.reason, one.action, one.refusal_permitted) for one in verified] == [
        (pb.DECISION_REASON_VALID, pb.GATE_ACTION_LET_IN, False)
    ] * 2
    stored = [await callers.decisions.GetDecision(service.GetDecisionRequest(name=one.name)) for one in verified]
    assert not stored[0].evidence_flags
    (flag,) = stored[1].evidence_flags
    assert (flag.lab, flag.report_number, flag.region) == (LAB, "SHARED-1", "410100")
    assert list(flag.kinds) == [EVIDENCE_FLAG_KIND_OTHER_PERSON]
    assert (flag.decision, flag.other_decision) == (verified[1].name, verified[0].name)
    request = ListEvidenceFlagsRequest(region="410000", kinds=[EVIDENCE_FLAG_KIND_OTHER_PERSON], lab=LAB)
    listed = (await callers.flags.ListEvidenceFlags(request)).evidence_flags
    assert flag in listed
    cut = service.GetDecisionRequest(name=verified[1].name, view=VIEW_MINIMAL)
    assert not (await callers.decisions.GetDecision(cut)).evidence_flags
    replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=verified[1].name))
    assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL


async def test_a_signed_report_fills_the_evidence_and_is_not_flagged(callers: Callers) -> None:
    """The report number has no digit.

    Without a registered key, and after its revocation, the report counts as any paper.
    """
    key = Ed25519PrivateKey.generate()
    issued = SystemClock().now() // SECOND - 3600
    report = SignedReport(LAB.removeprefix("labs/"), "SIGNED", "", outcome_pb2.OUTCOME_NEGATIVE, issued - 60, issued)
    text = signed_reports.sign(signed_reports.for_holder(report, _person(93), "张*", ""), key)
    registered = SetLabSigningKeyRequest(
        name=LAB, signing_key=LabSigningKey(public_key=signed_reports.to_der(key.public_key()))
    )
    shown = PresentedEvidence(channel=CHANNEL_PAPER_REPORT, signed_report=text)

    async def flags_of(person: int) -> list[int]:
        decision = (await callers.decisions.Verify(question(_person(person), evidence=[shown]))).decision
        assert (decision.reason, decision.basis) == (pb.DECISION_REASON_VALID, pb.DECISION_BASIS_PRESENTED)
        stored = await callers.decisions.GetDecision(service.GetDecisionRequest(name=decision.name))
        evidence = stored.inputs.evidence[0]
        assert (evidence.report_number, evidence.outcome, evidence.signed_report) == ("SIGNED", report.outcome, "")
        replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=decision.name))
        assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL
        return [kind for flag in stored.evidence_flags for kind in flag.kinds]

    assert await flags_of(93) == [EVIDENCE_FLAG_KIND_NUMBER_WITHOUT_DIGIT]
    await callers.labs.SetLabSigningKey(registered)
    assert await flags_of(93) == []
    assert await flags_of(94) == [
        EVIDENCE_FLAG_KIND_OTHER_PERSON,
        EVIDENCE_FLAG_KIND_SIGNED_FOR_OTHER_DOCUMENT,
    ]
    registered.signing_key.revoke_time.CopyFrom(to_timestamp(0))
    await callers.labs.SetLabSigningKey(registered)
    assert await flags_of(93) == [EVIDENCE_FLAG_KIND_NUMBER_WITHOUT_DIGIT, EVIDENCE_FLAG_KIND_SIGNATURE_NOT_VALID]


async def test_paper_with_the_laboratorys_name_is_as_good_as_with_its_code(callers: Callers) -> None:
    """The register finds the laboratory, which is asked for the report. Without a number it is a case."""
    shown = paper("BY-NAME", SystemClock().now() - HOUR, lab="", lab_name="郑州 检验所")
    decision = (await callers.decisions.Verify(question(_person(5), evidence=[shown]))).decision
    assert (decision.outcome, decision.basis) == (pb.DECISION_OUTCOME_RECOGNIZED, pb.DECISION_BASIS_PRESENTED)
    assert [(one.action, one.lab, one.report_number) for one in decision.next_steps] == [
        (next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT, LAB, "BY-NAME")
    ]
    shown.report_number = ""
    decision = (await callers.decisions.Verify(question(_person(5), evidence=[shown]))).decision
    assert (decision.outcome, decision.reason) == (
        pb.DECISION_OUTCOME_UNDETERMINED,
        pb.DECISION_REASON_EVIDENCE_NOT_COMPARABLE,
    )
    assert [(one.action, one.lab) for one in decision.next_steps] == [
        (next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE, LAB)
    ]
    assert decision.considered[0].evidence == shown
    replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=decision.name))
    assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL


async def test_number_alone_is_compared_with_this_persons_records(callers: Callers) -> None:
    """The comparison finds the record. The decision is stored with the record, without masks."""
    reported = SystemClock().now() - 60 * HOUR
    report = _report()
    await callers.upload(_person(6), report, reported)
    for shown_time, reason in (
        (reported, pb.DECISION_REASON_EXPIRED),
        (reported + 59 * HOUR, pb.DECISION_REASON_EVIDENCE_NOT_COMPARABLE),
    ):
        shown = paper(report, shown_time, lab="", sample_time=to_timestamp(reported - 2 * HOUR))
        decision = (await callers.decisions.Verify(question(_person(6), evidence=[shown]))).decision
        assert decision.reason == reason
        stored = await callers.decisions.GetDecision(service.GetDecisionRequest(name=decision.name))
        (possible,) = stored.inputs.claims[0].possible_results
        assert (possible.report_number, possible.masked_number) == (report, "")
        replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=decision.name))
        assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL


async def test_negative_in_hand_after_a_recorded_positive_is_a_case(callers: Callers) -> None:
    """The person is neither refused nor recognised.

    The laboratory then registers, and its upload confirms the negative.
    """
    now = SystemClock().now()
    await callers.upload(_person(70), _report(), now - 30 * HOUR, outcome_pb2.OUTCOME_POSITIVE)
    shown = paper("CLEARS", now - HOUR, lab="", lab_name="郑州检验所")
    decision = (await callers.decisions.Verify(question(_person(70), evidence=[shown]))).decision
    assert decision.reason == pb.DECISION_REASON_CLEARANCE_NOT_RECORDED
    assert (decision.refusal_permitted, decision.action) == (False, pb.GATE_ACTION_LET_IN_AND_REGISTER)
    assert decision.name
    assert [one.action for one in decision.next_steps] == [
        next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT,
        next_step_pb2.NEXT_STEP_ACTION_CONFIRM_CLEARANCE,
    ]


async def test_edited_report_time_contradicts_the_record(callers: Callers) -> None:
    """An old report with a new time: not used, an officer is asked to look, and it is stored."""
    reported = SystemClock().now() - 60 * HOUR
    report = _report()
    await callers.upload(_person(2), report, reported)
    shown = paper(f" {report}", reported + 59 * HOUR, sample_time=to_timestamp(reported - 2 * HOUR))
    decision = (await callers.decisions.Verify(question(_person(2), evidence=[shown]))).decision
    assert decision.reason == pb.DECISION_REASON_EXPIRED
    uses = {one.use: list(one.differing_fields) for one in decision.considered}
    assert uses == {pb.EVIDENCE_USE_EXPIRED: [], pb.EVIDENCE_USE_CONTRADICTS_RECORD: ["report_time"]}
    assert decision.next_steps[0].action == next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE


async def test_report_of_another_person_contradicts(callers: Callers) -> None:
    """A genuine report of another person proves nothing, and the answer contains nothing of it."""
    reported = SystemClock().now() - HOUR
    report = _report()
    await callers.upload(_person(3), report, reported)
    decision = (await callers.decisions.Verify(question(_person(4), evidence=[paper(report, reported)]))).decision
    assert decision.reason == pb.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD
    assert list(decision.considered[0].differing_fields) == ["person"]
    stored = await callers.decisions.GetDecision(service.GetDecisionRequest(name=decision.name))
    assert not stored.inputs.claims[0].HasField("test_result")


async def test_an_antigen_test_is_not_recognized_as_nucleic_acid(callers: Callers) -> None:
    """Recorded, shown as what it is, or shown as a nucleic-acid result: it has no effect and no laboratory is asked."""
    reported = SystemClock().now() - HOUR
    report, person = _report(), _person(77)
    await callers.upload(person, report, reported, item="items/sars-cov-2-antigen")
    lack = (await callers.decisions.Verify(question(person))).decision
    assert (lack.reason, len(lack.considered)) == (pb.DECISION_REASON_NO_RESULT, 0)
    for item in ("items/sars-cov-2-antigen", ""):
        shown = paper(report, reported, item=item)
        decision = (await callers.decisions.Verify(question(person, evidence=[shown]))).decision
        assert (decision.reason, len(decision.next_steps)) == (pb.DECISION_REASON_NO_RESULT, 0)
        assert [one.use for one in decision.considered] == [pb.EVIDENCE_USE_OTHER_ITEM]
        assert decision.considered[0].evidence.item == item
        replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=decision.name))
        assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL
    await callers.upload(person, _report(), reported - MINUTE)
    decision = (await callers.decisions.Verify(question(person))).decision
    assert decision.reason == pb.DECISION_REASON_VALID


async def test_positive_pool_awaits_its_recheck(callers: Callers) -> None:
    """A positive pool is not a positive person: a recheck is asked for."""
    await callers.upload(_person(5), _report(), SystemClock().now() - HOUR, outcome_pb2.OUTCOME_POOL_POSITIVE)
    decision = (await callers.decisions.Verify(question(_person(5)))).decision
    assert decision.reason == pb.DECISION_REASON_PENDING_RECHECK
    assert decision.next_steps[0].action == next_step_pb2.NEXT_STEP_ACTION_RECHECK_SINGLE_TUBE


async def test_place_that_asks_for_nothing_and_place_without_a_rule(callers: Callers) -> None:
    """NOT_REQUIRED where the rule says so; UNDETERMINED, never a refusal, where there is none."""
    free = (await callers.decisions.Verify(question(_person(6), region="410200"))).decision
    assert (free.outcome, free.name) == (pb.DECISION_OUTCOME_NOT_REQUIRED, "")
    lawless = (await callers.decisions.Verify(question(_person(6), region="450403"))).decision
    assert lawless.outcome == pb.DECISION_OUTCOME_UNDETERMINED
    assert lawless.reason == pb.DECISION_REASON_NO_POLICY_IN_FORCE
    assert not lawless.refusal_permitted


async def test_floors_of_a_place_decide_and_are_kept_for_replay(callers: Callers) -> None:
    """A lift where nothing governs, and a shortest window of 48 hours over a policy of 24."""
    lift = policy_pb2.Policy(name="jurisdictions/460200/policies/lift", title="lift", floor=True)
    lift.not_required.SetInParent()
    least = policy_pb2.Policy(name="jurisdictions/460100/policies/least", title="least", floor=True)
    least.test_required.shortest_window.duration.seconds = 48 * 3600
    for floor in (lift, least):
        floor.effective_start_time.CopyFrom(to_timestamp(SystemClock().now()))
        await callers.policies.PublishPolicy(PublishPolicyRequest(policy=floor))
    await callers.publish("460100", 24 * HOUR)
    reported = SystemClock().now() - 30 * HOUR
    await callers.upload(_person(62), _report(), reported)

    async def decide(region: str) -> pb.Decision:
        return (await callers.decisions.Verify(question(_person(62), region=region, store_decision=True))).decision

    lifted, lengthened = await decide("460200"), await decide("460100")
    assert (lifted.outcome, lifted.governing_policy) == (pb.DECISION_OUTCOME_NOT_REQUIRED, "")
    assert lifted.floor_policy == f"{lift.name}@1"
    assert (lengthened.reason, lengthened.expire_time) == (
        pb.DECISION_REASON_VALID,
        to_timestamp(reported + 48 * HOUR),
    )
    for decision in (lifted, lengthened):
        replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=decision.name))
        assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL


async def test_unknown_origin_is_decided_by_the_better_rule(callers: Callers) -> None:
    """25 hours after the report: not recognised by the rule for the province, recognised by that for others."""
    await callers.publish("220500", 24 * HOUR, origin=policy_pb2.TRAVELER_ORIGIN_SAME_PROVINCE)
    await callers.publish(
        "220500", 48 * HOUR, origin=policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE, policy_id="outside", document="example"
    )
    await callers.upload(_person(60), _report(), SystemClock().now() - 25 * HOUR)

    async def decide(arriving_from: str, **fields: bool) -> pb.Decision:
        asked = question(_person(60), region="220502", arriving_from=arriving_from, **fields)
        return (await callers.decisions.Verify(asked)).decision

    for nowhere in ("", "000000"):
        unknown = await decide(nowhere, store_decision=True)
        assert (unknown.reason, unknown.action) == (pb.DECISION_REASON_VALID, pb.GATE_ACTION_LET_IN)
        assert unknown.assumed_origin == policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE
        assert unknown.governing_source.document_number == "example"
        stored = await callers.decisions.GetDecision(service.GetDecisionRequest(name=unknown.name))
        assert stored.inputs.HasField("by_origin")
        replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=unknown.name))
        assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL
    assert (await decide("220100")).reason == pb.DECISION_REASON_EXPIRED
    other = await decide("370200")
    assert (other.reason, other.assumed_origin) == (pb.DECISION_REASON_VALID, 0)


async def test_the_items_of_a_policy_are_looked_up_and_no_others(callers: Callers) -> None:
    """The first question finds no policy in the cache, and later ones do.

    Questions come by a call, a batch and a stream.
    """
    await callers.publish("411100", 48 * HOUR, accepted={"": None, ANTIGEN: 24 * HOUR})
    reported = SystemClock().now() - HOUR
    recorded, on_paper, nucleic = _report(), _report(), _report()
    await callers.upload(_person(63), recorded, reported, item=ANTIGEN)
    await callers.upload(_person(64), nucleic, reported - 30 * HOUR)
    await callers.upload(_person(64), _report(), reported, item=HEPATITIS)
    papers = [paper(on_paper, reported, item=ANTIGEN), paper(nucleic, reported - 30 * HOUR)]

    def ask(person: int, **fields: object) -> service.VerifyRequest:
        return question(_person(person), **({"region": "411100", "store_decision": True} | fields))  # type: ignore[no-any-return]

    asked = [
        ask(63),
        ask(64, evidence=papers, scope=lookup_pb2.LOOKUP_SCOPE_NATIONWIDE),
        ask(64),
        ask(63, region="410105"),
    ]
    first = await callers.decisions.BatchVerify(service.BatchVerifyRequest(requests=asked))
    again = await callers.decisions.BatchVerify(service.BatchVerifyRequest(requests=asked))
    frames = [service.StreamVerifyRequest(correlation_id=str(index), request=one) for index, one in enumerate(asked)]
    streamed = {answer.correlation_id: answer async for answer in callers.decisions.StreamVerify(iter(frames))}
    calls = [await callers.decisions.Verify(one) for one in asked]
    uses = pb.EvidenceUse
    for antigen, shown, alone, elsewhere in (
        [item.decision for item in first.items],
        [item.decision for item in again.items],
        [streamed[mark].decision for mark in sorted(streamed)],
        [answer.decision for answer in calls],
    ):
        assert (antigen.reason, antigen.item) == (pb.DECISION_REASON_VALID, ANTIGEN)
        assert antigen.expire_time == to_timestamp(reported + 24 * HOUR)
        assert [(one.result, one.item) for one in antigen.considered] == [(f"{LAB}/results/{recorded}@1", ANTIGEN)]
        assert (shown.basis, shown.item) == (pb.DECISION_BASIS_PRESENTED, ANTIGEN)
        assert {one.use for one in shown.considered} == {
            uses.EVIDENCE_USE_USED, uses.EVIDENCE_USE_OTHER_EXPIRES_LATER, uses.EVIDENCE_USE_SAME_AS_RECORD,
        }  # fmt: skip
        assert (alone.reason, alone.item, len(alone.considered)) == (pb.DECISION_REASON_VALID, "", 1)
        assert (elsewhere.reason, len(elsewhere.considered)) == (pb.DECISION_REASON_NO_RESULT, 0)
    replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=shown.name))
    assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL
    report = ReportRefusalRequest(
        region="411100",
        purpose=purpose_pb2.PURPOSE_HOTEL,
        refuse_time=to_timestamp(SystemClock().now()),
        grounds=[refusal_ground_pb2.REFUSAL_GROUND_EXPIRED],
        document=document(_person(63)),
    )
    refusal = (await callers.refusals.ReportRefusal(report)).refusal
    assert refusal.assessment == refusal_pb2.REFUSAL_ASSESSMENT_UNLAWFUL, "the antigen test entitled the person"


async def test_the_items_of_both_classes_are_looked_up_for_an_unknown_origin(callers: Callers) -> None:
    """One policy accepts antigen and the other does not. The first question finds neither policy in the cache."""
    await callers.publish("411200", 48 * HOUR, origin=policy_pb2.TRAVELER_ORIGIN_SAME_PROVINCE)
    await callers.publish(
        "411200",
        24 * HOUR,
        origin=policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE,
        policy_id="outside",
        accepted={ANTIGEN: None},
    )
    await callers.upload(_person(65), _report(), SystemClock().now() - HOUR, item=ANTIGEN)
    for _ in range(2):
        decision = (await callers.decisions.Verify(question(_person(65), region="411200"))).decision
        assert (decision.reason, decision.item) == (pb.DECISION_REASON_VALID, ANTIGEN)
        assert decision.assumed_origin == policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE
    local = (await callers.decisions.Verify(question(_person(65), region="411200", arriving_from="410100"))).decision
    assert (local.reason, len(local.considered)) == (pb.DECISION_REASON_NO_RESULT, 0)


async def test_a_decision_by_older_rules_is_made_anew_and_not_compared(callers: Callers, directory: Path) -> None:
    """Replay says that another version of the rules made it; it never calls the two different."""
    kept = (await callers.decisions.Verify(question(_person(61), store_decision=True))).decision
    uuid = kept.name.removeprefix("decisions/")
    with contextlib.closing(sqlite3.connect(directory / "verification.db")) as database, database:
        ((stored,),) = database.execute("SELECT inputs FROM decisions WHERE uuid = ?", (uuid,)).fetchall()
        inputs = pb.DecisionInputs.FromString(stored)
        inputs.rules_version = 0
        database.execute("UPDATE decisions SET inputs = ? WHERE uuid = ?", (inputs.SerializeToString(), uuid))
    replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=kept.name))
    assert replayed.comparison == service.REPLAY_COMPARISON_OTHER_RULES
    assert (replayed.stored_rules_version, replayed.rules_version) == (0, RULES_VERSION)


async def test_decisions_replay_bit_for_bit_after_the_world_has_changed(callers: Callers) -> None:
    """A stored decision is made again from its inputs, whatever policy and results say meanwhile."""
    await callers.publish("411000", 48 * HOUR)
    asked = question(
        _person(7), region="411000", evidence=[paper("OLD", SystemClock().now() - HOUR)], store_decision=True
    )
    first = (await callers.decisions.Verify(asked)).decision
    await callers.publish("411000", HOUR // 2)
    await callers.upload(_person(7), _report(), SystemClock().now() - HOUR, outcome_pb2.OUTCOME_POSITIVE)
    replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=first.name))
    assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL
    assert replayed.decision == first


async def test_batch_is_paired_and_a_faulty_item_harms_no_other(callers: Callers) -> None:
    """Answers stand in the order of the questions; the faulty one is answered by its own error."""
    reported = SystemClock().now() - HOUR
    await callers.upload(_person(8), _report(), reported)
    bad = question("410105186001010018")
    unprintable = question(_person(9), evidence=[paper("A\0B", reported)])
    questions = [question(_person(8)), bad, question(_person(9)), unprintable, service.VerifyRequest()]
    response = await callers.decisions.BatchVerify(service.BatchVerifyRequest(requests=questions))
    said = [item.decision.reason if item.HasField("decision") else item.error.code for item in response.items]
    invalid = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert said == [pb.DECISION_REASON_VALID, invalid, pb.DECISION_REASON_NO_RESULT, invalid, invalid]
    assert detail_of(response.items[1].error, error_details_pb2.ErrorInfo).reason == "BAD_DOCUMENT_NUMBER"
    stored = service.GetDecisionRequest(name=response.items[2].decision.name)
    assert (await callers.decisions.GetDecision(stored)).decision == response.items[2].decision


async def test_stream_answers_each_question_and_survives_faulty_ones(callers: Callers) -> None:
    """Answers carry their question's mark; half-closing ends the stream after the last of them."""

    async def ask() -> AsyncIterator[service.StreamVerifyRequest]:
        for mark in range(100):
            yield service.StreamVerifyRequest(correlation_id=str(mark), request=question(_person(mark)))
        yield service.StreamVerifyRequest(correlation_id="empty")
        yield service.StreamVerifyRequest(correlation_id="faulty", request=question("410105186001010018"))

    answers = {answer.correlation_id: answer async for answer in callers.decisions.StreamVerify(ask())}
    assert len(answers) == 102
    assert answers["empty"].error.code == answers["faulty"].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert all(answers[str(mark)].HasField("decision") for mark in range(100))


async def test_single_questions_that_meet_are_answered_each_by_its_own(callers: Callers) -> None:
    """200 at once share look-ups; a faulty one among them fails alone."""
    reported = SystemClock().now() - HOUR
    await callers.upload(_person(20), _report(), reported)
    questions = [question(_person(20) if index % 2 else _person(21)) for index in range(200)]
    questions.append(question("410105186001010018"))
    answers = await asyncio.gather(*(callers.decisions.Verify(one) for one in questions), return_exceptions=True)
    assert isinstance(answers[-1], grpc.aio.AioRpcError)
    for index, answer in enumerate(answers[:-1]):
        assert not isinstance(answer, BaseException)
        assert answer.decision.outcome == (
            pb.DECISION_OUTCOME_RECOGNIZED if index % 2 else pb.DECISION_OUTCOME_NOT_RECOGNIZED
        )


async def test_fresh_tokens_are_honoured(callers: Callers) -> None:
    """A decision asked with the token of an upload or a publication rests on it; a made-up token is refused."""
    for _ in range(10):
        person = _person(30)
        token = await callers.upload(person, _report(), SystemClock().now() - HOUR)
        decision = (await callers.decisions.Verify(question(person, at_least_as_fresh=token))).decision
        assert decision.outcome == pb.DECISION_OUTCOME_RECOGNIZED
    for hours in range(10, 20):
        token = await callers.publish("410300", hours * HOUR)
        decision = (
            await callers.decisions.Verify(question(_person(30), region="410300", at_least_as_fresh=token))
        ).decision
        assert decision.governing_policy.endswith(f"@{hours - 9}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.decisions.Verify(question(_person(30), at_least_as_fresh="x"))
    assert error_info(caught.value).reason == "INVALID_CONSISTENCY_TOKEN"


async def test_publication_is_visible_in_decisions_within_a_second(callers: Callers) -> None:
    """Asked again and again without a token, the new rule shows within a second of its acknowledgement."""
    await callers.publish("410400", 24 * HOUR)
    asked = question(_person(31), region="410400")
    await callers.decisions.Verify(asked)
    for revision in range(2, 5):
        await callers.publish("410400", (24 + revision) * HOUR)

        async def is_visible(ending: str = f"@{revision}") -> bool:
            return (await callers.decisions.Verify(asked)).decision.governing_policy.endswith(ending)

        await until(is_visible)


LONG_AGO = 1_660_000_000 * SECOND


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"region": "419999"}, "region", "REGION_UNKNOWN"),
        ({"region": "41"}, "region", "INVALID_FIELD"),
        ({"arriving_from": "999999"}, "arriving_from", "REGION_UNKNOWN"),
        ({"purpose": 0}, "purpose", "INVALID_FIELD"),
        ({"evidence": [paper("R", LONG_AGO, lab="labs/914101000000000000")]}, "evidence[0].lab", "BAD_USCC"),
        ({"evidence": [paper("R", LONG_AGO, outcome=0)]}, "evidence[0].outcome", "INVALID_FIELD"),
        ({"evidence": [paper("R", LONG_AGO, signed_report="R")]}, "evidence[0].signed_report", "INVALID_FIELD"),
        ({"evidence": [paper("R 1", LONG_AGO)]}, "evidence[0].report_number", "INVALID_FIELD"),
        ({"evidence": [paper(_person(1), LONG_AGO)]}, "evidence[0].report_number", "INVALID_FIELD"),
        ({"evidence": [paper("R", LONG_AGO, lab_name=_person(1))]}, "evidence[0].lab_name", "INVALID_FIELD"),
        ({"evidence": [paper("", LONG_AGO, lab="", lab_name=" ")]}, "evidence[0].lab", "INVALID_FIELD"),
        ({"evidence": [paper(" ", LONG_AGO, lab="")]}, "evidence[0].lab", "INVALID_FIELD"),
        ({"evidence": [paper("R\u200b", LONG_AGO)]}, "evidence[0].report_number", "INVALID_FIELD"),
        (
            {"evidence": [paper("R", LONG_AGO, sample_time=Timestamp(seconds=1))]},
            "evidence[0].sample_time",
            "INVALID_FIELD",
        ),
    ],
)
async def test_faulty_fields_are_named(callers: Callers, fields: dict[str, object], field: str, reason: str) -> None:
    """INVALID_ARGUMENT names the field and why."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.decisions.Verify(question(_person(40), **fields))  # type: ignore[arg-type]
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field_violations(caught.value) == {field: reason}


async def test_times_beyond_all_calendars_are_refused(callers: Callers) -> None:
    """A use time in the year 300,000 is a fault of the request, not of the service."""
    request = question(_person(40))
    request.use_time.seconds = 1 << 53
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.decisions.Verify(request)
    assert field_violations(caught.value) == {"use_time": "INVALID_FIELD"}


async def test_unknown_and_malformed_decision_names(callers: Callers) -> None:
    """NOT_FOUND with the name, INVALID_ARGUMENT MALFORMED_NAME with the form."""
    name = "decisions/01890000-0000-7000-8000-000000000000"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.decisions.GetDecision(service.GetDecisionRequest(name=name))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert error_info(caught.value).metadata["resource"] == name
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name="decisions/1"))
    assert error_info(caught.value).reason == "MALFORMED_NAME"


async def test_no_identity_is_logged_or_stored(callers: Callers, directory: Path) -> None:
    """No file of Verification, and no log, has the number or the name. The decision is in one of the files."""
    decision = (await callers.decisions.Verify(question(_person(50), store_decision=True))).decision
    names = (_person(50).encode(), document(_person(50)).name.encode())
    files = files_of_verification(directory)
    assert [name for name, content in files.items() if any(text in content for text in names)] == []
    assert any(decision.name.removeprefix("decisions/").encode() in content for content in files.values())


def files_of_verification(directory: Path) -> dict[str, bytes]:
    """Return the database and the logs by the names of the files."""
    paths = (*directory.glob("verification*"), *directory.glob("*.log"))
    return {path.name: path.read_bytes() for path in paths}


async def test_cases_and_flags_of_an_unknown_region_are_a_fault(callers: Callers) -> None:
    """A filter by a code that is no region would match nothing, and the caller would not learn why."""
    for call in (
        callers.cases.ListCases(ListCasesRequest(region="419999")),
        callers.flags.ListEvidenceFlags(ListEvidenceFlagsRequest(region="419999")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert field_violations(caught.value) == {"region": "REGION_UNKNOWN"}
