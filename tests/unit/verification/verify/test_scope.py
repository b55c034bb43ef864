"""A question whose scope is unset is settled by own records, or goes on to the nation."""

from __future__ import annotations

from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyItem
from hutong.results.v1 import lookup_pb2
from hutong.results.v1.results_service_pb2 import LookupLatestResponse
from hutong.type.v1.outcome_pb2 import OUTCOME_NEGATIVE
from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import DAY, HOUR, SECOND, Instant, to_timestamp
from services.verification.decision.model import SOURCE_OK, SOURCE_UNAVAILABLE, SourceStatus
from services.verification.sources.convert import policy_answer_from_proto
from services.verification.sources.lookup_answer import LookupAnswer, answer_from_message
from services.verification.verify.inputs import SourceAnswers
from services.verification.verify.questions.question import Question
from services.verification.verify.scope import decide_from, decide_if_sufficient, nationwide, with_nation
from tests.support.verification.node import question
from tests.support.verification.questions import decode_question

NOW: Instant = 1_660_190_400 * SECOND
POLICY = SourceStatus("nodes/410000/policy", SOURCE_OK, NOW)
UNSET = lookup_pb2.LOOKUP_SCOPE_UNSPECIFIED


def _ask(scope: lookup_pb2.LookupScope.ValueType = UNSET) -> Question:
    return decode_question(question("410105186001010019", scope=scope), NOW)


def _own(*ages: int) -> LookupAnswer:
    response = LookupLatestResponse()
    for age in ages:
        response.in_region.add(
            name=f"labs/L/results/{age}",
            state=1,  # type: ignore[arg-type]
            outcome=OUTCOME_NEGATIVE,
            sample_time=to_timestamp(NOW - age - HOUR),
            report_time=to_timestamp(NOW - age),
        )
    response.sources.add(node="nodes/410000", state=lookup_pb2.SOURCE_STATE_OK)
    return answer_from_message(response)


def _answers(results: LookupAnswer | None, *, policy_known: bool = True) -> SourceAnswers:
    item = ResolvePolicyItem()
    item.effective_policy.governing = "jurisdictions/410100/policies/venue@1"
    item.effective_policy.test_required.window.duration.seconds = 48 * 3600
    item.effective_policy.test_required.window.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
    known = policy_answer_from_proto(item, NOW, 0.0, 0) if policy_known else None
    away = SourceStatus("nodes/410000/results", SOURCE_UNAVAILABLE, None) if results is None else None
    return SourceAnswers(known, POLICY, results, away)


def test_own_records_that_recognise_are_the_answer() -> None:
    settled = decide_if_sufficient(_ask(), _answers(_own(HOUR)))
    assert settled is not None
    assert settled.decision.reason == pb.DECISION_REASON_VALID
    assert settled.gathered.inputs.own_records_alone


def test_own_records_settle_nothing_where_a_positive_may_not_be_known() -> None:
    """The nation makes positives of hepatitis known to no node, so it is asked where they stand."""
    answers = _answers(_own(HOUR))
    for items, settles in ((["items/sars-cov-2-antigen", ""], True), (["", "items/hepatitis-b"], False)):
        item = ResolvePolicyItem()
        assert answers.policy is not None
        item.effective_policy.MergeFrom(answers.policy.message)  # type: ignore[arg-type]
        item.effective_policy.test_required.adverse_items.extend(items)
        known = policy_answer_from_proto(item, NOW, 0.0, 0)
        assert (decide_if_sufficient(_ask(), answers._replace(policy=known)) is not None) is settles


def test_anything_less_goes_on_to_the_nation() -> None:
    """No records, and records that do not count; in another scope the question is answered as it was put."""
    assert decide_if_sufficient(_ask(), _answers(_own())) is None
    assert decide_if_sufficient(_ask(), _answers(_own(3 * DAY))) is None
    local = decide_if_sufficient(_ask(lookup_pb2.LOOKUP_SCOPE_LOCAL), _answers(_own(3 * DAY)))
    assert local is not None
    assert local.decision.reason == pb.DECISION_REASON_NATION_NOT_ASKED


def test_the_nation_is_not_asked_if_the_policy_or_the_own_records_are_not_known() -> None:
    """The nation's answer could settle nothing, or would come the same way that gave no answer."""
    for answers in (_answers(_own(), policy_known=False), _answers(None)):
        settled = decide_if_sufficient(_ask(), answers)
        assert settled is not None
        assert settled.decision.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE


def test_a_nation_that_does_not_answer_is_an_unavailable_source() -> None:
    """Own records still count, and the missing answer is not held against the holder."""
    asked = _ask()
    settled = decide_from(asked, with_nation(_answers(_own(3 * DAY)), None))
    assert settled.decision.reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
    assert ("nodes/000000/results", SOURCE_UNAVAILABLE) in [one[:2] for one in settled.decision.sources]
    assert len(settled.decision.considered) == 1


def test_the_first_look_up_is_local_and_the_second_nationwide() -> None:
    asked = _ask()
    assert asked.look_up.scope == lookup_pb2.LOOKUP_SCOPE_LOCAL
    assert nationwide(asked).scope == lookup_pb2.LOOKUP_SCOPE_NATIONWIDE
