"""What the sources answered, brought together: as values for the decision, as a message for the store."""

from __future__ import annotations

from typing import NamedTuple

from hutong.results.v1 import lookup_pb2
from hutong.verification.v1 import decision_pb2

from services.domain.instant import Instant, from_timestamp, to_timestamp
from services.verification.decision.convert import record_from_proto, sources_to_proto
from services.verification.decision.model import (
    NEGATIVE,
    NOT_LOOKED_UP,
    SOURCE_OK,
    SOURCE_UNAVAILABLE,
    Claim,
    Inputs,
    Record,
    SourceStatus,
)
from services.verification.sources.lookup_answer import Found, without_masks
from services.verification.sources.policy_cache import KnownPolicy
from services.verification.verify.question import Question


class Answers(NamedTuple):
    """What came back for a question. `policy` and `found` None: that source did not answer, or was not asked."""

    policy: KnownPolicy | None
    policy_status: SourceStatus
    found: Found | None
    results_away: SourceStatus | None


def gather(question: Question, answers: Answers) -> Inputs:
    """The inputs of the decision."""
    policy = answers.policy
    found = answers.found
    sources: tuple[SourceStatus, ...] = (answers.policy_status,)
    if answers.results_away is not None:
        sources += (answers.results_away,)
    if found is not None:
        sources += _heard_in_part(found.sources) if _is_cut_off(question, found) else found.sources
    claims: tuple[Claim, ...] = ()
    if question.evidence:
        claims = tuple([_claim(claim) for claim in _paired_claims(question, found)])
    return Inputs(
        question.policy.use_time,
        question.evaluate_time,
        policy.effective if policy is not None else None,
        found.records if found is not None else (),
        question.evidence,
        claims,
        sources,
    )


def inputs_to_proto(question: Question, answers: Answers, inputs: Inputs) -> decision_pb2.DecisionInputs:
    """The same for the store: records as Results told them, without the masks, which decide nothing."""
    message = decision_pb2.DecisionInputs(
        use_time=to_timestamp(inputs.use_time),
        evaluate_time=to_timestamp(inputs.evaluate_time),
        evidence=question.evidence_messages,
        region=question.policy.region,
        purpose=question.policy.purpose,  # type: ignore[arg-type]
    )
    sources_to_proto(inputs.sources, message)
    if answers.policy is not None:
        message.effective_policy.CopyFrom(answers.policy.message)
    if answers.found is not None:
        message.records.extend(answers.found.results())
    for claim in _paired_claims(question, answers.found):
        added = message.claims.add()
        if claim is not None:
            added.state = claim.state
            added.lab_standing = claim.lab_standing
            if claim.HasField("horizon_time"):
                added.horizon_time.CopyFrom(claim.horizon_time)
            if claim.HasField("result"):
                added.test_result.CopyFrom(without_masks(claim.result))
    return message


def _is_cut_off(question: Question, found: Found) -> bool:
    """Whether the look-up's limit may have left out what counted at a time of use in the past.

    Results come newest first: behind a full side whose negatives were all issued later, an earlier one may stand.
    """
    use_time, limit = question.policy.use_time, question.look_up.limit
    if use_time >= question.evaluate_time or len(found.records) < limit:
        return False
    sides = found.records[: found.in_region_count], found.records[found.in_region_count :]
    return any(len(side) >= limit and not any(_is_negative_by(record, use_time) for record in side) for side in sides)


def _is_negative_by(record: Record, instant: Instant) -> bool:
    return record.outcome == NEGATIVE and record.report_time is not None and record.report_time <= instant


def _heard_in_part(sources: tuple[SourceStatus, ...]) -> tuple[SourceStatus, ...]:
    """The sources as ones that could not say: what they did not come to tell is no reason against the holder."""
    return tuple(
        [SourceStatus(one.source, SOURCE_UNAVAILABLE, None) if one.state == SOURCE_OK else one for one in sources]
    )


def _paired_claims(question: Question, found: Found | None) -> list[lookup_pb2.Claim | None]:
    """What was found of each piece of evidence; None for one that names no report and so was not asked about."""
    claims = iter(found.claims if found is not None else ())
    return [next(claims, None) if evidence.lab and evidence.report_number else None for evidence in question.evidence]


def _claim(claim: lookup_pb2.Claim | None) -> Claim:
    if claim is None:
        return NOT_LOOKED_UP
    record = record_from_proto(claim.result) if claim.HasField("result") else None
    horizon_time = from_timestamp(claim.horizon_time) if claim.HasField("horizon_time") else None
    return Claim(claim.state, record, claim.lab_standing, horizon_time)
