"""A decision that is made again from its stored inputs equals the stored decision, bit for bit."""

from __future__ import annotations

from random import Random

from google.protobuf.duration_pb2 import Duration
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyItem
from hutong.results.v1 import lookup_pb2, result_pb2
from hutong.results.v1.results_service_pb2 import LookupLatestResponse
from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_RESIDENT_ID_CARD, IdentityDocument
from hutong.verification.v1.verification_service_pb2 import VerifyRequest

from services.domain.instant import Instant, to_timestamp
from services.verification.decision.decide import decide
from services.verification.decision.model import Inputs, Record, SourceStatus
from services.verification.sources.convert import policy_answer_from_proto
from services.verification.sources.lookup_answer import answer_from_message
from services.verification.verify.convert import decision_to_proto, evidence_to_proto
from services.verification.verify.inputs import SourceAnswers, gather, inputs_from_proto, inputs_to_proto
from tests.support.verification.decision_inputs import NOON, POLICY, random_inputs
from tests.support.verification.questions import decode_question


def _result(record: Record) -> result_pb2.TestResult:
    def time(instant: Instant | None) -> object:
        return None if instant is None else to_timestamp(instant)

    return result_pb2.TestResult(
        name=record.name,
        revision=record.revision,
        state=record.state,
        masked_name="张**",
        masked_number="41**************19",
        lab=record.lab,
        report_number=record.report_number,
        outcome=record.outcome,
        sample_region="220502",
        sample_time=time(record.sample_time),  # type: ignore[arg-type]
        receive_time=time(record.receive_time),  # type: ignore[arg-type]
        test_time=time(record.test_time),  # type: ignore[arg-type]
        report_time=time(record.report_time),  # type: ignore[arg-type]
        lab_standing=record.lab_standing,
    )


def _response(inputs: Inputs) -> LookupLatestResponse:
    response = LookupLatestResponse(out_of_region=[_result(record) for record in inputs.records])
    response.sources.add(node="nodes/410000", state=lookup_pb2.SOURCE_STATE_OK, as_of_time=to_timestamp(NOON))
    for evidence, claim in zip(inputs.evidence, inputs.claims, strict=True):
        if evidence.lab and evidence.report_number:
            added = response.claims.add(state=claim.state, lab_standing=claim.lab_standing)
            if claim.record is not None:
                added.result.CopyFrom(_result(claim.record))
    return response


def _policy() -> policy_pb2.EffectivePolicy:
    policy = policy_pb2.EffectivePolicy(governing="jurisdictions/410100/policies/venue@1", forbidden_grounds=[1, 2])
    policy.test_required.window.duration.CopyFrom(Duration(seconds=48 * 3600))
    policy.test_required.window.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
    return policy


def _resolution(random: Random) -> ResolvePolicyItem:
    """One policy with the document behind it, or one for each origin."""
    policy = _policy()
    policy.governing_source.document_number = "example"
    if random.random() < 0.3:
        policy.shortest_windows.add(floor="f").shortest_window.duration.seconds = 72 * 3600
    if random.random() < 0.1:
        policy.not_required.SetInParent()
        policy.lifting_floor, policy.governing = "f", ""
    if random.random() < 0.5:
        return ResolvePolicyItem(effective_policy=policy)
    other = _policy()
    other.test_required.window.duration.seconds = 24 * 3600
    return ResolvePolicyItem(by_origin=policy_pb2.PoliciesByOrigin(same_province=other, other_province=policy))


def test_stored_inputs_make_the_same_decision() -> None:
    """Random answers of Results and Policy, stored and read back, give the same bytes, without any mask."""
    random = Random(81)
    document = IdentityDocument(type=DOCUMENT_TYPE_RESIDENT_ID_CARD, number="410105186001010019")
    for _ in range(300):
        world = random_inputs(random)
        request = VerifyRequest(document=document, region="410105", purpose=4)  # type: ignore[arg-type]
        request.use_time.CopyFrom(to_timestamp(world.use_time))
        request.evidence.extend(evidence_to_proto(evidence) for evidence in world.evidence)
        for evidence in request.evidence:
            if evidence.lab:
                evidence.lab = "labs/91410100MA0000001X"
        question = decode_question(request, NOON)
        found = None if random.random() < 0.2 else answer_from_message(_response(world))
        away = None if found is not None else SourceStatus("nodes/410000/results", 2, None)  # type: ignore[arg-type]
        known = policy_answer_from_proto(_resolution(random), NOON, 0.0, 0)
        answers = SourceAnswers(known, SourceStatus(POLICY, 1, NOON), found, away)  # type: ignore[arg-type]
        gathered = gather(question, answers, own_records_alone=world.own_records_alone)
        first = decision_to_proto(decide(gathered.inputs), gathered.inputs, "decisions/x")
        stored = inputs_to_proto(question, answers, gathered).SerializeToString(deterministic=True)
        assert "张".encode() not in stored
        again = inputs_from_proto(type(inputs_to_proto(question, answers, gathered)).FromString(stored))
        second = decision_to_proto(decide(again), again, "decisions/x")
        assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
