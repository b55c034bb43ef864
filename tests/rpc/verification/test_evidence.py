"""Evidence that a holder shows, decided by Verification through real Results and Policy."""

from __future__ import annotations

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hutong.access.v1.access_pb2 import VIEW_MINIMAL
from hutong.results.v1 import lookup_pb2, next_step_pb2
from hutong.results.v1.lab_pb2 import LabSigningKey
from hutong.results.v1.lab_service_pb2 import SetLabSigningKeyRequest
from hutong.results.v1.missing_report_pb2 import MISSING_REPORT_ANSWER_NOT_OURS
from hutong.results.v1.missing_report_service_pb2 import AnswerMissingReportRequest
from hutong.type.v1 import outcome_pb2
from hutong.type.v1.channel_pb2 import CHANNEL_PAPER_REPORT
from hutong.verification.v1 import decision_pb2 as pb
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
from hutong.verification.v1.holder_token_service_pb2 import IssueHolderTokenRequest
from hutong_client.reports import signed as signed_reports
from hutong_client.reports.signed import SignedReport

from services.domain.instant import HOUR, MINUTE, SECOND, to_timestamp
from services.runtime.clock import SystemClock
from tests.support.errors import error_info
from tests.support.people import resident_number
from tests.support.verification.node import LAB, NUMBERS, Callers, next_report, paper, question
from tests.support.waiting import until

ANTIGEN = "items/sars-cov-2-antigen"
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_paper_without_a_record_is_recognized_and_the_laboratory_reminded(callers: Callers) -> None:
    """The evidence has equal force. The decision is stored, and names the report that is to be uploaded."""
    shown = paper("NOT-UPLOADED", SystemClock().now() - HOUR)
    decision = (await callers.decisions.Verify(question(resident_number(1), evidence=[shown]))).decision
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
    asked = question(resident_number(97), evidence=[paper("DENIED-1", reported)])
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
    await callers.upload(resident_number(97), "DENIED-1", reported)
    assert (await callers.decisions.Verify(asked)).decision.basis == pb.DECISION_BASIS_RECORD


async def test_paper_of_a_second_person_is_recognized_and_flagged_for_officers(callers: Callers) -> None:
    """The answer is the same as for any paper. The stored decision and the list of flags name both showings."""
    asked = [
        question(resident_number(index), evidence=[paper("SHARED-1", SystemClock().now() - HOUR)]) for index in (91, 92)
    ]
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
    text = signed_reports.sign(signed_reports.for_holder(report, resident_number(93), "张*", ""), key)
    registered = SetLabSigningKeyRequest(
        name=LAB, signing_key=LabSigningKey(public_key=signed_reports.to_der(key.public_key()))
    )
    shown = PresentedEvidence(channel=CHANNEL_PAPER_REPORT, signed_report=text)

    async def flags_of(person: int) -> list[int]:
        decision = (await callers.decisions.Verify(question(resident_number(person), evidence=[shown]))).decision
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


@pytest.mark.parametrize("by_token", [False, True], ids=["document", "token"])
async def test_a_signed_report_of_another_person_is_flagged_however_it_is_shown(
    callers: Callers, by_token: bool
) -> None:
    """The holder is never flagged, whoever shows the report first. A borrower is, also if the holder comes later.

    The last two show the report as paper, without its signature.
    """
    key = Ed25519PrivateKey.generate()
    public_key = LabSigningKey(public_key=signed_reports.to_der(key.public_key()))
    await callers.labs.SetLabSigningKey(SetLabSigningKeyRequest(name=LAB, signing_key=public_key))
    holder, *borrowers = map(resident_number, (193, 194, 195))
    issued = SystemClock().now() // SECOND - 3600
    asks = (callers.verify, callers.verify_in_batch, callers.verify_in_stream)
    for ask in asks:
        bare = SignedReport(LAB.removeprefix("labs/"), next_report(), "", outcome_pb2.OUTCOME_NEGATIVE, None, issued)
        text = signed_reports.sign(signed_reports.for_holder(bare, holder, "张*", ""), key)
        shown = PresentedEvidence(channel=CHANNEL_PAPER_REPORT, signed_report=text)
        names = []
        typed = PresentedEvidence(
            channel=CHANNEL_PAPER_REPORT, lab=LAB, report_number=bare.report_number, outcome=2,
            report_time=to_timestamp(issued * SECOND),
        )  # fmt: skip
        showings = [
            (borrowers[0], shown),
            (holder, shown),
            (borrowers[1], shown),
            (holder, typed),
            (borrowers[0], typed),
        ]
        for person, evidence in showings:
            request = question(person, evidence=[evidence])
            if by_token:
                issue = IssueHolderTokenRequest(document=request.document)
                request.holder_token = (await callers.holder_tokens.IssueHolderToken(issue)).holder_token
            decision = await ask(request)
            assert decision.reason == pb.DECISION_REASON_VALID
            names.append(decision.name)
        stored = [await callers.decisions.GetDecision(service.GetDecisionRequest(name=name)) for name in names]
        kinds = [[kind for flag in one.evidence_flags for kind in flag.kinds] for one in stored]
        of_another = [EVIDENCE_FLAG_KIND_OTHER_PERSON, EVIDENCE_FLAG_KIND_SIGNED_FOR_OTHER_DOCUMENT]
        assert kinds == [of_another, [], of_another, [], [EVIDENCE_FLAG_KIND_OTHER_PERSON]]
        assert stored[0].evidence_flags[0].other_decision == names[1]


async def test_paper_with_the_laboratorys_name_is_as_good_as_with_its_code(callers: Callers) -> None:
    """The register finds the laboratory, which is asked for the report. Without a number it is a case."""
    shown = paper("BY-NAME", SystemClock().now() - HOUR, lab="", lab_name="郑州 检验所")
    decision = (await callers.decisions.Verify(question(resident_number(5), evidence=[shown]))).decision
    assert (decision.outcome, decision.basis) == (pb.DECISION_OUTCOME_RECOGNIZED, pb.DECISION_BASIS_PRESENTED)
    assert [(one.action, one.lab, one.report_number) for one in decision.next_steps] == [
        (next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT, LAB, "BY-NAME")
    ]
    shown.report_number = ""
    decision = (await callers.decisions.Verify(question(resident_number(5), evidence=[shown]))).decision
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
    report = next_report()
    await callers.upload(resident_number(6), report, reported)
    for shown_time, reason in (
        (reported, pb.DECISION_REASON_EXPIRED),
        (reported + 59 * HOUR, pb.DECISION_REASON_EVIDENCE_NOT_COMPARABLE),
    ):
        shown = paper(report, shown_time, lab="", sample_time=to_timestamp(reported - 2 * HOUR))
        decision = (await callers.decisions.Verify(question(resident_number(6), evidence=[shown]))).decision
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
    await callers.upload(resident_number(70), next_report(), now - 30 * HOUR, outcome_pb2.OUTCOME_POSITIVE)
    shown = paper("CLEARS", now - HOUR, lab="", lab_name="郑州检验所")
    decision = (await callers.decisions.Verify(question(resident_number(70), evidence=[shown]))).decision
    assert decision.reason == pb.DECISION_REASON_CLEARANCE_NOT_RECORDED
    assert (decision.refusal_permitted, decision.action) == (False, pb.GATE_ACTION_LET_IN_AND_REGISTER)
    assert decision.name
    assert [one.action for one in decision.next_steps] == [
        next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT,
        next_step_pb2.NEXT_STEP_ACTION_CONFIRM_CLEARANCE,
    ]


async def test_edited_report_time_contradicts_the_record(callers: Callers) -> None:
    """A recorded report is shown with a later time. It is not used, an officer is asked to look, and it is stored."""
    reported = SystemClock().now() - 60 * HOUR
    report = next_report()
    await callers.upload(resident_number(2), report, reported)
    shown = paper(f" {report}", reported + 59 * HOUR, sample_time=to_timestamp(reported - 2 * HOUR))
    decision = (await callers.decisions.Verify(question(resident_number(2), evidence=[shown]))).decision
    assert decision.reason == pb.DECISION_REASON_EXPIRED
    uses = {one.use: list(one.differing_fields) for one in decision.considered}
    assert uses == {pb.EVIDENCE_USE_EXPIRED: [], pb.EVIDENCE_USE_CONTRADICTS_RECORD: ["report_time"]}
    assert decision.next_steps[0].action == next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE


async def test_report_of_another_person_contradicts(callers: Callers) -> None:
    """A genuine report of another person proves nothing, and the answer contains nothing of it."""
    reported = SystemClock().now() - HOUR
    report = next_report()
    await callers.upload(resident_number(3), report, reported)
    decision = (
        await callers.decisions.Verify(question(resident_number(4), evidence=[paper(report, reported)]))
    ).decision
    assert decision.reason == pb.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD
    assert list(decision.considered[0].differing_fields) == ["person"]
    stored = await callers.decisions.GetDecision(service.GetDecisionRequest(name=decision.name))
    assert not stored.inputs.claims[0].HasField("test_result")


async def test_an_antigen_test_is_not_recognized_as_nucleic_acid(callers: Callers) -> None:
    """Recorded, shown as what it is, or shown as a nucleic-acid result: it has no effect and no laboratory is asked."""
    reported = SystemClock().now() - HOUR
    report, person = next_report(), resident_number(77)
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
    await callers.upload(person, next_report(), reported - MINUTE)
    decision = (await callers.decisions.Verify(question(person))).decision
    assert decision.reason == pb.DECISION_REASON_VALID
