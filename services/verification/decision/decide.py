"""Decides whether a result is recognised (docs/decision.md). Pure: the same inputs always give the same answer.

The rule is section 1 of the notice of 29 July 2022 (联防联控机制综发〔2022〕81号). A result has equal force whichever
channel shows it and wherever the specimen was taken, and it counts inside the window of the place that checks. The code
therefore reads neither the channel nor the place of sampling. A source that cannot be reached is never a reason against
the holder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import next_step_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import Instant
from services.domain.names import DEFAULT_ITEM
from services.verification.decision.actions import ALL_ANSWERED, POLICY_UNKNOWN, GateRow, gate_row
from services.verification.decision.canonical_order import in_order, order_of_evidence, order_of_record
from services.verification.decision.favour import best_for_holder
from services.verification.decision.items import ItemRules, item_rules
from services.verification.decision.model import (
    NOT_LOOKED_UP,
    POOL_POSITIVE,
    UNANSWERED,
    Claim,
    Considered,
    Decision,
    EffectivePolicy,
    Evidence,
    Inputs,
    NextStep,
    Record,
)
from services.verification.decision.permission import (
    SUSPECT,
    describe_sources,
    has_unanswered,
    may_refuse_for_lack,
    may_refuse_for_positive,
    was_nation_asked,
)
from services.verification.decision.positives import find_clearing, find_governing
from services.verification.decision.validity import hold_to_windows
from services.verification.decision.weigh import Weighed, weigh_evidence, weigh_record

if TYPE_CHECKING:
    from services.verification.decision.model import (
        DecisionBasis,
        DecisionOutcome,
        EvidenceUse,
        NextStepAction,
        Reason,
    )

RULES_VERSION = 10
"""The version of the rules, stored with each decision. Raise it if the same inputs may give another answer."""

_REASON_OF_USE: tuple[tuple[EvidenceUse, Reason], ...] = (
    (pb.EVIDENCE_USE_CONTRADICTS_RECORD, pb.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD),
    (pb.EVIDENCE_USE_DENIED_BY_LAB, pb.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD),
    (pb.EVIDENCE_USE_RECALLED, pb.DECISION_REASON_RESULT_RECALLED),
    (pb.EVIDENCE_USE_LAB_NOT_AUTHORIZED, pb.DECISION_REASON_LAB_NOT_AUTHORIZED),
    (pb.EVIDENCE_USE_NOT_YET_REPORTED, pb.DECISION_REASON_NOT_YET_REPORTED),
    (pb.EVIDENCE_USE_SAMPLING_PROOF_NOT_ACCEPTED, pb.DECISION_REASON_NOT_YET_REPORTED),
    (pb.EVIDENCE_USE_INCONCLUSIVE, pb.DECISION_REASON_INCONCLUSIVE_RESULT),
)
"""The reason why no result counts, by the use of a weighed record or piece of evidence. The strongest reason comes
first.

If no use matches, the reason is NO_RESULT."""


_COMPARED = frozenset({pb.EVIDENCE_USE_SAME_AS_RECORD, pb.EVIDENCE_USE_OTHER_ITEM}) | SUSPECT


def decide(inputs: Inputs) -> Decision:
    """Return the decision on the inputs. The order of records, evidence and sources has no effect.

    If the person's origin is not known and policies differ by origin, each of these policies decides over the same
    look-up, and the better decision for the holder is the answer. Which one is better depends on the records. A ground
    of refusal that one of the policies forbids is forbidden in both decisions.
    """
    if inputs.policy is None or inputs.elsewhere is None:
        return _decide_by_policy(inputs)
    grounds = tuple(sorted({*inputs.policy.forbidden_grounds, *inputs.elsewhere.forbidden_grounds}))
    same, other = (
        _decide_by_policy(inputs._replace(policy=policy._replace(forbidden_grounds=grounds), elsewhere=None))
        for policy in (inputs.policy, inputs.elsewhere)
    )
    return best_for_holder(
        (
            same._replace(assumed_origin=policy_pb2.TRAVELER_ORIGIN_SAME_PROVINCE),
            other._replace(assumed_origin=policy_pb2.TRAVELER_ORIGIN_OTHER_PROVINCE),
        )
    )


def _decide_by_policy(inputs: Inputs) -> Decision:
    """Decide by one policy, in the order of docs/decision.md §2."""
    policy = inputs.policy
    if policy is None:
        return _decide_without_weighing(inputs, pb.DECISION_OUTCOME_UNDETERMINED, pb.DECISION_REASON_SOURCE_UNAVAILABLE)
    if policy.asks_nothing:
        return _decide_without_weighing(inputs, pb.DECISION_OUTCOME_NOT_REQUIRED, pb.DECISION_REASON_NO_TEST_REQUIRED)
    if policy.required is None or not policy.governing:
        return _decide_without_weighing(inputs, pb.DECISION_OUTCOME_UNDETERMINED, pb.DECISION_REASON_NO_POLICY_IN_FORCE)
    items = item_rules(policy.required)
    weighed = _weigh_each(inputs, items.weighed)
    governing = find_governing(weighed, items, policy.required, inputs)
    valid = hold_to_windows(weighed, items, policy.required, inputs)
    if governing is not None:
        clearing = find_clearing(weighed, valid, items)
        for one in valid:
            one.use = pb.EVIDENCE_USE_OUTWEIGHED
        if clearing:
            return _await_clearance(inputs, weighed, governing, clearing)
        return _refuse_for_positive(inputs, policy, weighed, governing)
    if valid:
        return _recognize(inputs, weighed, valid)
    return _explain_lack(inputs, policy, items, weighed)


def _weigh_each(inputs: Inputs, items: frozenset[str]) -> list[Weighed]:
    """Weigh every record and piece of evidence, in canonical order (step 2).

    `items` are the items that the policy weighs.
    """
    records = _newest_revisions(inputs)
    weighed = [weigh_record(record, items, inputs) for record in records]
    if inputs.evidence:
        by_report = {(record.lab, record.report_number): record for record in records}
        shown = [weigh_evidence(evidence, claim, by_report, items, inputs) for evidence, claim in _pairs(inputs)]
        weighed.extend([_only_compared(one) for one in shown] if inputs.own_records_alone else shown)
    return weighed


def _only_compared(one: Weighed) -> Weighed:
    """Return weighed evidence as used in a decision in which only records count.

    Its use stays if it equals or contradicts a record, or is denied by its laboratory; otherwise it becomes NOT_NEEDED.
    """
    if one.use in _COMPARED:
        return one
    return Weighed(one.subject, pb.EVIDENCE_USE_NOT_NEEDED)


def _newest_revisions(inputs: Inputs) -> Sequence[Record]:
    """Return the newest revision of each record, ordered by name."""
    records = inputs.records
    claimed = []
    if not inputs.own_records_alone:
        claimed = [claim.record for claim in inputs.claims if claim.record is not None]
        claimed.extend([record for claim in inputs.claims for record in claim.possible])
    if len(records) + len(claimed) <= 1:
        return records or claimed
    newest: dict[str, Record] = {}
    for record in (*records, *claimed):
        other = newest.get(record.name)
        if other is None or order_of_record(record) > order_of_record(other):
            newest[record.name] = record
    return [newest[name] for name in sorted(newest)]


def _recognize(inputs: Inputs, weighed: list[Weighed], valid: list[Weighed]) -> Decision:
    """Recognise the result that expires last (end of step 4)."""
    for one in valid:
        one.use = pb.EVIDENCE_USE_OTHER_EXPIRES_LATER
    # max() returns the first of equal results, and `valid` is in canonical order.
    used = valid[0] if len(valid) == 1 else max(valid, key=_preference)
    used.use = pb.EVIDENCE_USE_USED
    recorded = isinstance(used.subject, Record)
    return _compose(
        inputs,
        weighed,
        pb.DECISION_OUTCOME_RECOGNIZED,
        pb.DECISION_REASON_VALID,
        basis=pb.DECISION_BASIS_RECORD if recorded else pb.DECISION_BASIS_PRESENTED,
        rests_on=used,
    )


def _preference(one: Weighed) -> tuple[Instant, bool, Instant, bool]:
    assert one.expire_time is not None
    return one.expire_time, isinstance(one.subject, Record), one.sample_time, not one.is_sampling


def _refuse_for_positive(
    inputs: Inputs, policy: EffectivePolicy, weighed: list[Weighed], governing: Weighed
) -> Decision:
    """Decide by a positive that governs (end of step 3)."""
    reason: Reason = pb.DECISION_REASON_POSITIVE_RESULT
    rechecks: list[NextStep] = []
    if governing.subject.outcome == POOL_POSITIVE:
        reason = pb.DECISION_REASON_PENDING_RECHECK
        rechecks = [
            NextStep(next_step_pb2.NEXT_STEP_ACTION_RECHECK_SINGLE_TUBE, one.subject.lab, one.subject.report_number)
            for one in weighed
            if one.use == pb.EVIDENCE_USE_GOVERNS
        ]
    return _compose(
        inputs,
        weighed,
        pb.DECISION_OUTCOME_NOT_RECOGNIZED,
        reason,
        rests_on=governing,
        more_next_steps=rechecks,
        refusal_permitted=may_refuse_for_positive(policy, inputs.sources),
    )


def _await_clearance(
    inputs: Inputs, weighed: list[Weighed], governing: Weighed, clearing: Sequence[Weighed]
) -> Decision:
    """Make the decision for the case that evidence would clear every positive that governs.

    The evidence has equal force, so it is not ignored. It may be forged, so it does not clear a positive by itself.
    """
    for one in clearing:
        one.use = pb.EVIDENCE_USE_WOULD_CLEAR
    return _compose(
        inputs,
        weighed,
        pb.DECISION_OUTCOME_UNDETERMINED,
        pb.DECISION_REASON_CLEARANCE_NOT_RECORDED,
        rests_on=governing,
        more_next_steps=_steps_for(clearing, next_step_pb2.NEXT_STEP_ACTION_CONFIRM_CLEARANCE),
    )


def _steps_for(evidence: Iterable[Weighed], action: NextStepAction) -> list[NextStep]:
    return [NextStep(action, one.lab, one.subject.report_number) for one in evidence]


def _explain_lack(inputs: Inputs, policy: EffectivePolicy, items: ItemRules, weighed: list[Weighed]) -> Decision:
    """Make the decision for the case that nothing counts.

    The person lacks a result only if no evidence is left that may count, no result may be hidden, every source answered
    and the nation was asked. If any of these is not so, the outcome is undetermined. A lack is explained only by
    accepted items, by evidence that contradicts its record, and by evidence that its laboratory denies.
    """
    not_comparable = [one for one in weighed if one.use == pb.EVIDENCE_USE_NOT_COMPARABLE]
    if not_comparable:
        return _compose(
            inputs,
            weighed,
            pb.DECISION_OUTCOME_UNDETERMINED,
            pb.DECISION_REASON_EVIDENCE_NOT_COMPARABLE,
            more_next_steps=_steps_for(not_comparable, next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE),
        )
    unknown = _why_unknown(inputs, items)
    if unknown is not None:
        more = _ask_again(inputs) if unknown == pb.DECISION_REASON_SOURCE_UNAVAILABLE else ()
        return _compose(inputs, weighed, pb.DECISION_OUTCOME_UNDETERMINED, unknown, more_next_steps=more)
    expired = [one for one in weighed if one.use == pb.EVIDENCE_USE_EXPIRED]
    uses = {one.use for one in weighed if one.subject.item in items.accepted or one.use in SUSPECT}
    reason: Reason = pb.DECISION_REASON_EXPIRED
    if not expired:
        reason = next((reason for use, reason in _REASON_OF_USE if use in uses), pb.DECISION_REASON_NO_RESULT)
    return _compose(
        inputs,
        weighed,
        pb.DECISION_OUTCOME_NOT_RECOGNIZED,
        reason,
        rests_on=max(expired, key=_preference) if expired else None,
        refusal_permitted=may_refuse_for_lack(policy, inputs.sources, uses),
    )


def _why_unknown(inputs: Inputs, items: ItemRules) -> Reason | None:
    """Return why there may be a valid result that was not seen; None if there is certainly none."""
    if inputs.cut_items and any(item in items.accepted for item in inputs.cut_items):
        return pb.DECISION_REASON_HISTORY_CUT
    if has_unanswered(inputs.sources):
        return pb.DECISION_REASON_SOURCE_UNAVAILABLE
    return None if was_nation_asked(inputs.sources) else pb.DECISION_REASON_NATION_NOT_ASKED


def _decide_without_weighing(inputs: Inputs, outcome: DecisionOutcome, reason: Reason) -> Decision:
    """Make the decision if the policy is unknown, no policy is in force, or the policy requires no result (step 1)."""
    subjects: list[Record | Evidence] = [*_newest_revisions(inputs)]
    subjects.extend(evidence for evidence, _ in _pairs(inputs))
    weighed = [Weighed(subject, pb.EVIDENCE_USE_NOT_NEEDED) for subject in subjects]
    unknown = reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
    return _compose(inputs, weighed, outcome, reason, more_next_steps=_ask_again(inputs) if unknown else ())


def _pairs(inputs: Inputs) -> list[tuple[Evidence, Claim]]:
    """Return each piece of evidence with its claim, in canonical order."""
    if not inputs.evidence:
        return []
    claims = inputs.claims or (NOT_LOOKED_UP,) * len(inputs.evidence)
    return sorted(zip(inputs.evidence, claims, strict=True), key=order_of_evidence)


def _ask_again(inputs: Inputs) -> list[NextStep]:
    sources = sorted({source.source for source in inputs.sources if source.state in UNANSWERED})
    return [NextStep(next_step_pb2.NEXT_STEP_ACTION_ASK_AGAIN, source=source) for source in sources]


def _compose(
    inputs: Inputs,
    weighed: list[Weighed],
    outcome: DecisionOutcome,
    reason: Reason,
    *,
    basis: DecisionBasis = pb.DECISION_BASIS_UNSPECIFIED,
    rests_on: Weighed | None = None,
    more_next_steps: Sequence[NextStep] = (),
    refusal_permitted: bool = False,
) -> Decision:
    """Return the decision with everything that was weighed."""
    next_steps = [one.next_step for one in weighed if one.next_step is not None]
    next_steps.extend(more_next_steps)
    result = ""
    if rests_on is not None and isinstance(rests_on.subject, Record):
        result = f"{rests_on.subject.name}@{rests_on.subject.revision}"
    return Decision(
        outcome,
        reason,
        basis,
        result,
        rests_on.basis_time if rests_on else None,
        rests_on.expire_time if rests_on else None,
        tuple(
            [Considered(one.subject, one.use, one.expire_time, one.differing_fields, one.lab_answer) for one in weighed]
        ),
        in_order(inputs.sources),
        tuple(dict.fromkeys(next_steps)) if next_steps else (),
        refusal_permitted,
        _gate_row(inputs, outcome, reason, refusal_permitted),
        inputs.policy,
        rests_on.subject.item if rests_on else DEFAULT_ITEM,
    )


def _gate_row(inputs: Inputs, outcome: DecisionOutcome, reason: Reason, refusal_permitted: bool) -> GateRow:
    """Return the row of the gate's action."""
    policy = inputs.policy
    if policy is None:
        heard = POLICY_UNKNOWN
    elif outcome == pb.DECISION_OUTCOME_RECOGNIZED:
        # The row of a recognition does not depend on which sources answered.
        heard = ALL_ANSWERED
    else:
        heard = describe_sources(inputs.sources)
    may_refuse = policy is not None and policy.required is not None and policy.required.refusal_permitted
    return gate_row(outcome, reason, heard, refusal_permitted=refusal_permitted, rule_may_refuse=may_refuse)
