"""Recognitions of a batch share parts of their answers. Each answer is the same as in the general way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random

from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import lookup_pb2
from hutong.results.v1.results_service_pb2 import LookupLatestResponse
from hutong.verification.v1 import decision_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from services.domain.names import is_announced
from services.verification.decision.items import item_rules
from services.verification.decision.model import EffectivePolicy, Inputs, Record
from services.verification.sources.lookup_answer import LookupAnswer
from services.verification.sources.model import PolicyAnswer
from services.verification.stored_decisions.store import must_be_kept
from services.verification.verify.batches.recognitions import Recognitions
from services.verification.verify.convert import fill_decision
from services.verification.verify.inputs import SourceAnswers, inputs_from_proto
from services.verification.verify.misses import is_miss
from services.verification.verify.questions.asker import FULL, MINIMAL
from services.verification.verify.questions.question import Question
from services.verification.verify.scope import decide_if_sufficient
from services.verification.verify.view import show
from tests.support.golden.corpus import read_corpus
from tests.support.verification.decision_inputs import random_inputs, random_record
from tests.support.verification.node import question
from tests.support.verification.questions import decode_question

SCOPES = (lookup_pb2.LOOKUP_SCOPE_UNSPECIFIED, lookup_pb2.LOOKUP_SCOPE_LOCAL)
WAYS = [(view, scope) for view in (FULL, MINIMAL) for scope in SCOPES for _ in range(2)]
"""Views and scopes of the questions of a batch. Each occurs twice, so that the second answer shares with the first."""


def _known(effective: EffectivePolicy, elsewhere: EffectivePolicy | None, inputs: Inputs) -> PolicyAnswer:
    required = [one.required for one in (effective, elsewhere) if one is not None and one.required is not None]
    settled = all(is_announced(item) for one in required for item in item_rules(one).ranks)
    message = policy_pb2.EffectivePolicy()
    now = inputs.evaluate_time
    return PolicyAnswer(effective, elsewhere, message, None, None, now, 0.0, 0, is_settled_by_own_records=settled)


def _questions(inputs: Inputs, records: Iterable[Record]) -> list[tuple[Question, SourceAnswers]]:
    """Return questions of one batch: each record is the only record of a person."""
    policy = None if inputs.policy is None else _known(inputs.policy, inputs.elsewhere, inputs)
    first, *others = inputs.sources
    sources = tuple(others)
    asked = []
    for index, record in enumerate(records):
        view, scope = WAYS[index % len(WAYS)]
        one = decode_question(question("410105186001010019", scope=scope), inputs.evaluate_time)
        one = one._replace(view=view, policy=one.policy._replace(use_time=inputs.use_time))
        results = LookupAnswer((record,), 1, sources, (), LookupLatestResponse())
        asked.append((one, SourceAnswers(policy, first, results, None)))
    return asked


def _compare(asked: Iterable[tuple[Question, SourceAnswers]]) -> int:
    """Check that both ways give the same answer to each question. Return the number of recognitions."""
    recognitions, count = Recognitions(), 0
    for one, answers in asked:
        quick = pb.Decision()
        record = recognitions.fill(one, answers, quick)
        settled = decide_if_sufficient(one, answers)
        outcome = None if settled is None else settled.decision.outcome
        assert (record is not None) == (
            outcome == pb.DECISION_OUTCOME_RECOGNIZED and answers.policy is not None and not answers.policy.elsewhere
        )
        if record is None or settled is None:
            assert quick == pb.Decision()
            continue
        assert answers.results is not None
        assert [record] == list(answers.results.records)
        inputs, slow = settled.gathered.inputs, pb.Decision()
        fill_decision(slow, settled.decision, inputs)
        show(slow, one)
        assert quick.SerializeToString(deterministic=True) == slow.SerializeToString(deterministic=True)
        assert not must_be_kept(settled.decision)
        assert not is_miss(settled.decision, inputs)
        count += 1
    return count


@given(st.integers(0, 2**32))
def test_the_recognitions_of_a_batch_are_the_general_decisions(seed: int) -> None:
    random = Random(seed)
    inputs = random_inputs(random)._replace(own_records_alone=False)
    _compare(_questions(inputs, [random_record(random, number) for number in range(len(WAYS))]))


def test_the_records_of_golden_decisions_are_recognised_alike() -> None:
    _, cases = read_corpus()
    count = 0
    for case in cases:
        inputs = inputs_from_proto(case.inputs)
        if inputs.sources:
            count += _compare(_questions(inputs, [record for record in inputs.records for _ in WAYS]))
    assert count > len(cases)


def test_what_must_be_stored_or_weighed_with_more_is_decided_in_the_general_way() -> None:
    """A decision to store, evidence, a second record, or a look-up that found nothing."""
    random = Random(1)
    while True:
        inputs = random_inputs(random)._replace(elsewhere=None)
        asked = _questions(inputs, [random_record(random, number) for number in range(2)])
        if inputs.evidence and len(asked) == 2 and _compare(asked[:1]):
            break
    one, answers = asked[0]
    results = answers.results
    assert results is not None
    more = (*results.records, *asked[1][1].results.records)  # type: ignore[union-attr]
    assert answers.policy is not None
    nation_first = replace(answers.policy, is_settled_by_own_records=False)
    assert one.own_records_first
    assert Recognitions().fill(one, answers._replace(policy=nation_first), pb.Decision()) is None
    for changed, found in (
        (one._replace(store_decision=True), results),
        (one._replace(evidence=inputs.evidence), results),
        (one, results._replace(records=more)),
        (one, results._replace(records=())),
        (one, None),
    ):
        message = pb.Decision()
        assert Recognitions().fill(changed, answers._replace(results=found), message) is None
        assert message == pb.Decision()
