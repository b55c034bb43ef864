"""Verification through real Results and Policy, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.results.v1 import lookup_pb2, next_step_pb2
from hutong.type.v1 import outcome_pb2, purpose_pb2, refusal_ground_pb2
from hutong.verification.v1 import decision_pb2 as pb
from hutong.verification.v1 import refusal_pb2
from hutong.verification.v1 import verification_service_pb2 as service
from hutong.verification.v1.evidence_case_service_pb2 import (
    ListCasesRequest,
)
from hutong.verification.v1.evidence_flag_service_pb2 import ListEvidenceFlagsRequest
from hutong.verification.v1.refusal_service_pb2 import ReportRefusalRequest
from hutong_client.formatting import source_name

from services.domain.instant import HOUR, MINUTE, SECOND, to_timestamp
from services.runtime.clock import SystemClock
from services.verification.decision.decide import RULES_VERSION
from tests.support.errors import detail_of, error_info, field_violations
from tests.support.people import resident_number
from tests.support.verification.node import LAB, NUMBERS, Callers, document, next_report, paper, question
from tests.support.waiting import until

ANTIGEN, HEPATITIS = "items/sars-cov-2-antigen", "items/hepatitis-b"
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_recorded_negative_is_recognized_until_the_window_ends(callers: Callers) -> None:
    """Tested in Jilin, at a Zhengzhou hotel one minute before and one minute after 48 hours."""
    reported = SystemClock().now() - 3 * HOUR
    report = next_report()
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


async def test_positive_pool_awaits_its_recheck(callers: Callers) -> None:
    """A positive pool is not a positive person: a recheck is asked for."""
    await callers.upload(
        resident_number(5), next_report(), SystemClock().now() - HOUR, outcome_pb2.OUTCOME_POOL_POSITIVE
    )
    decision = (await callers.decisions.Verify(question(resident_number(5)))).decision
    assert decision.reason == pb.DECISION_REASON_PENDING_RECHECK
    assert decision.next_steps[0].action == next_step_pb2.NEXT_STEP_ACTION_RECHECK_SINGLE_TUBE


async def test_place_that_asks_for_nothing_and_place_without_a_rule(callers: Callers) -> None:
    """NOT_REQUIRED where the rule says so; UNDETERMINED, never a refusal, where there is none."""
    free = (await callers.decisions.Verify(question(resident_number(6), region="410200"))).decision
    assert (free.outcome, free.name) == (pb.DECISION_OUTCOME_NOT_REQUIRED, "")
    lawless = (await callers.decisions.Verify(question(resident_number(6), region="450403"))).decision
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
    await callers.upload(resident_number(62), next_report(), reported)

    async def decide(region: str) -> pb.Decision:
        return (
            await callers.decisions.Verify(question(resident_number(62), region=region, store_decision=True))
        ).decision

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
    await callers.upload(resident_number(60), next_report(), SystemClock().now() - 25 * HOUR)

    async def decide(arriving_from: str, **fields: bool) -> pb.Decision:
        asked = question(resident_number(60), region="220502", arriving_from=arriving_from, **fields)
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
    recorded, on_paper, nucleic = next_report(), next_report(), next_report()
    await callers.upload(resident_number(63), recorded, reported, item=ANTIGEN)
    await callers.upload(resident_number(64), nucleic, reported - 30 * HOUR)
    await callers.upload(resident_number(64), next_report(), reported, item=HEPATITIS)
    papers = [paper(on_paper, reported, item=ANTIGEN), paper(nucleic, reported - 30 * HOUR)]

    def ask(person: int, **fields: object) -> service.VerifyRequest:
        return question(resident_number(person), **({"region": "411100", "store_decision": True} | fields))  # type: ignore[no-any-return]

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
        document=document(resident_number(63)),
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
    await callers.upload(resident_number(65), next_report(), SystemClock().now() - HOUR, item=ANTIGEN)
    for _ in range(2):
        decision = (await callers.decisions.Verify(question(resident_number(65), region="411200"))).decision
        assert (decision.reason, decision.item) == (pb.DECISION_REASON_VALID, ANTIGEN)
        assert decision.assumed_origin == policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE
    local = (
        await callers.decisions.Verify(question(resident_number(65), region="411200", arriving_from="410100"))
    ).decision
    assert (local.reason, len(local.considered)) == (pb.DECISION_REASON_NO_RESULT, 0)


async def test_a_decision_by_older_rules_is_made_anew_and_not_compared(callers: Callers, directory: Path) -> None:
    """Replay says that another version of the rules made it; it never calls the two different."""
    kept = (await callers.decisions.Verify(question(resident_number(61), store_decision=True))).decision
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
        resident_number(7), region="411000", evidence=[paper("OLD", SystemClock().now() - HOUR)], store_decision=True
    )
    first = (await callers.decisions.Verify(asked)).decision
    await callers.publish("411000", HOUR // 2)
    await callers.upload(resident_number(7), next_report(), SystemClock().now() - HOUR, outcome_pb2.OUTCOME_POSITIVE)
    replayed = await callers.decisions.ReplayDecision(service.ReplayDecisionRequest(name=first.name))
    assert replayed.comparison == service.REPLAY_COMPARISON_IDENTICAL
    assert replayed.decision == first


async def test_batch_is_paired_and_a_faulty_item_harms_no_other(callers: Callers) -> None:
    """Answers stand in the order of the questions; the faulty one is answered by its own error."""
    reported = SystemClock().now() - HOUR
    await callers.upload(resident_number(8), next_report(), reported)
    bad = question("410105186001010018")
    unprintable = question(resident_number(9), evidence=[paper("A\0B", reported)])
    questions = [question(resident_number(8)), bad, question(resident_number(9)), unprintable, service.VerifyRequest()]
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
            yield service.StreamVerifyRequest(correlation_id=str(mark), request=question(resident_number(mark)))
        yield service.StreamVerifyRequest(correlation_id="empty")
        yield service.StreamVerifyRequest(correlation_id="faulty", request=question("410105186001010018"))

    answers = {answer.correlation_id: answer async for answer in callers.decisions.StreamVerify(ask())}
    assert len(answers) == 102
    assert answers["empty"].error.code == answers["faulty"].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert all(answers[str(mark)].HasField("decision") for mark in range(100))


async def test_single_questions_that_meet_are_answered_each_by_its_own(callers: Callers) -> None:
    """200 at once share look-ups; a faulty one among them fails alone."""
    reported = SystemClock().now() - HOUR
    await callers.upload(resident_number(20), next_report(), reported)
    questions = [question(resident_number(20) if index % 2 else resident_number(21)) for index in range(200)]
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
        person = resident_number(30)
        token = await callers.upload(person, next_report(), SystemClock().now() - HOUR)
        decision = (await callers.decisions.Verify(question(person, at_least_as_fresh=token))).decision
        assert decision.outcome == pb.DECISION_OUTCOME_RECOGNIZED
    for hours in range(10, 20):
        token = await callers.publish("410300", hours * HOUR)
        decision = (
            await callers.decisions.Verify(question(resident_number(30), region="410300", at_least_as_fresh=token))
        ).decision
        assert decision.governing_policy.endswith(f"@{hours - 9}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await callers.decisions.Verify(question(resident_number(30), at_least_as_fresh="x"))
    assert error_info(caught.value).reason == "INVALID_CONSISTENCY_TOKEN"


async def test_publication_is_visible_in_decisions_within_a_second(callers: Callers) -> None:
    """Asked again and again without a token, the new rule shows within a second of its acknowledgement."""
    await callers.publish("410400", 24 * HOUR)
    asked = question(resident_number(31), region="410400")
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
        ({"evidence": [paper(resident_number(1), LONG_AGO)]}, "evidence[0].report_number", "INVALID_FIELD"),
        ({"evidence": [paper("R", LONG_AGO, lab_name=resident_number(1))]}, "evidence[0].lab_name", "INVALID_FIELD"),
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
        await callers.decisions.Verify(question(resident_number(40), **fields))  # type: ignore[arg-type]
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field_violations(caught.value) == {field: reason}


async def test_times_beyond_all_calendars_are_refused(callers: Callers) -> None:
    """A use time in the year 300,000 is a fault of the request, not of the service."""
    request = question(resident_number(40))
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
    decision = (await callers.decisions.Verify(question(resident_number(50), store_decision=True))).decision
    names = (resident_number(50).encode(), document(resident_number(50)).name.encode())
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
