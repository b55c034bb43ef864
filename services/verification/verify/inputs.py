"""Gathers the answers of the sources into the inputs of a decision: values to decide from, and a message to store."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from hutong.results.v1 import lookup_pb2
from hutong.verification.v1 import decision_pb2

from services.domain.instant import from_timestamp, to_timestamp
from services.domain.names import DEFAULT_ITEM, describe_item, parse_items
from services.verification.decision.convert import (
    answer_from_proto,
    claim_from_proto,
    evidence_from_proto,
    record_from_proto,
    source_from_proto,
)
from services.verification.decision.decide import RULES_VERSION
from services.verification.decision.model import NOT_LOOKED_UP, Claim, Inputs, SourceStatus
from services.verification.showings.examine import PairedClaims
from services.verification.sources.convert import fill_policy, policy_from_proto
from services.verification.sources.lookup_answer import LookupAnswer, without_masks
from services.verification.sources.model import PolicyAnswer
from services.verification.verify.convert import fill_source
from services.verification.verify.history import find_cut_items
from services.verification.verify.questions.question import Question, is_looked_up, looked_up_items


class SourceAnswers(NamedTuple):
    """The answers of the sources to a question.

    Attributes:
        policy: what applies; None if Policy did not answer.
        results: what the look-up found; None if Results did not answer or was not asked.
        results_unavailable: the state of Results if it was asked and did not answer; otherwise None.
    """

    policy: PolicyAnswer | None
    policy_status: SourceStatus
    results: LookupAnswer | None
    results_unavailable: SourceStatus | None


new_answers = partial(tuple.__new__, SourceAnswers)
"""Makes answers from a tuple of all fields, in half the time of the constructor."""


class GatheredInputs(NamedTuple):
    """The inputs of a decision, with the claims as Results sent them."""

    inputs: Inputs
    claims: PairedClaims


def gather(question: Question, answers: SourceAnswers, *, own_records_alone: bool = False) -> GatheredInputs:
    """Return the inputs of the decision on a question."""
    policy = answers.policy
    results = answers.results
    sources: tuple[SourceStatus, ...] = (answers.policy_status,)
    if answers.results_unavailable is not None:
        sources += (answers.results_unavailable,)
    if results is not None:
        sources += results.sources
    claims = pair_claims(question, results) if question.evidence else ()
    inputs = Inputs(
        question.policy.use_time,
        question.evaluate_time,
        policy.effective if policy is not None else None,
        results.records if results is not None else (),
        question.evidence,
        tuple([_claim(claim) for claim in claims]),
        sources,
        policy.elsewhere if policy is not None else None,
        own_records_alone,
        find_cut_items(question, results, policy),
    )
    return GatheredInputs(inputs, claims)


def inputs_to_proto(
    question: Question, answers: SourceAnswers, gathered: GatheredInputs
) -> decision_pb2.DecisionInputs:
    """Return the inputs as the message to store, with records as Results sent them.

    Masked names and numbers are left out, because they do not affect the decision.
    """
    inputs = gathered.inputs
    message = decision_pb2.DecisionInputs(
        use_time=to_timestamp(inputs.use_time),
        evaluate_time=to_timestamp(inputs.evaluate_time),
        evidence=question.evidence_messages,
        region=question.policy.region,
        purpose=question.policy.purpose,  # type: ignore[arg-type]
        rules_version=RULES_VERSION,
        own_records_alone=inputs.own_records_alone,
        history_cut=bool(inputs.cut_items),
    )
    if inputs.cut_items not in ((), (DEFAULT_ITEM,)):
        message.cut_items.extend(map(describe_item, inputs.cut_items))
    for status in inputs.sources:
        fill_source(message.sources.add(), status)
    if answers.policy is not None:
        fill_policy(message, answers.policy)
    if answers.results is not None:
        message.records.extend(answers.results.results())
    for claim in gathered.claims:
        added = message.claims.add()
        if claim is not None:
            added.state = claim.state
            added.lab_standing = claim.lab_standing
            if claim.HasField("retention_start_time"):
                added.retention_start_time.CopyFrom(claim.retention_start_time)
            if claim.HasField("result"):
                added.test_result.CopyFrom(without_masks(claim.result))
            added.lab = claim.lab
            if claim.HasField("lab_answer"):
                added.lab_answer.CopyFrom(claim.lab_answer)
            added.possible_results.extend(map(without_masks, claim.possible_results))
    return message


def inputs_from_proto(inputs: decision_pb2.DecisionInputs) -> Inputs:
    """Return the inputs of a stored decision."""
    policy = policy_from_proto(inputs.effective_policy) if inputs.HasField("effective_policy") else None
    elsewhere = None
    if inputs.HasField("by_origin"):
        policy = policy_from_proto(inputs.by_origin.same_province)
        elsewhere = policy_from_proto(inputs.by_origin.other_province)
    return Inputs(
        from_timestamp(inputs.use_time),
        from_timestamp(inputs.evaluate_time),
        policy,
        tuple(record_from_proto(record) for record in inputs.records),
        tuple(evidence_from_proto(evidence) for evidence in inputs.evidence),
        tuple(claim_from_proto(claim) for claim in inputs.claims),
        tuple(source_from_proto(source) for source in inputs.sources),
        elsewhere,
        inputs.own_records_alone,
        (parse_items(inputs.cut_items, "cut_items") or (DEFAULT_ITEM,)) if inputs.history_cut else (),
    )


def pair_claims(question: Question, results: LookupAnswer | None) -> PairedClaims:
    """Return for each piece of evidence what Results found of its report; None if Results was not asked about it."""
    claims = iter(results.claims if results is not None else ())
    items = looked_up_items(question.look_up)
    return [next(claims, None) if is_looked_up(evidence, items) else None for evidence in question.evidence]


def _claim(claim: lookup_pb2.ClaimedReportMatch | None) -> Claim:
    if claim is None:
        return NOT_LOOKED_UP
    record = record_from_proto(claim.result) if claim.HasField("result") else None
    retention_start_time = (
        from_timestamp(claim.retention_start_time) if claim.HasField("retention_start_time") else None
    )
    possible = tuple([record_from_proto(result) for result in claim.possible_results])
    answer = answer_from_proto(claim.lab_answer) if claim.HasField("lab_answer") else None
    return Claim(claim.state, record, claim.lab_standing, retention_start_time, claim.lab, possible, answer)
