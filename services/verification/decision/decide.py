"""Whether a result is recognised (docs/decision.md). Pure: no clock, no I/O, the same answer for the same inputs.

The rule is that of the notice of 29 July 2022 (联防联控机制综发〔2022〕81号), section 1: a result has equal force by
whatever channel it is shown and wherever it was taken, and counts inside the window of the place that checks. Nothing
here reads a channel or a place of sampling, and what cannot be reached is never a reason against the holder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hutong.policy.v1 import policy_pb2
from hutong.results.v1 import next_step_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import Instant
from services.verification.decision.actions import EVERYBODY, POLICY_AWAY, GateRow, gate_row
from services.verification.decision.canonical_order import in_order, order_of_evidence, order_of_record
from services.verification.decision.favour import best_for_holder
from services.verification.decision.model import (
    AWAY,
    NEGATIVE,
    NOT_LOOKED_UP,
    POOL_POSITIVE,
    POSITIVE,
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
    is_away,
    may_refuse_for_lack,
    may_refuse_for_positive,
    was_nation_asked,
    who_was_heard,
)
from services.verification.decision.validity import hold_to_windows
from services.verification.decision.weigh import USABLE, Item, weigh_evidence, weigh_record

if TYPE_CHECKING:
    from services.verification.decision.model import DecisionBasis, DecisionOutcome, EvidenceUse, Reason

RULES_VERSION = 3
"""Stored with each decision. Every change after which the same inputs may give another answer raises it."""

_REASON_OF_USE: tuple[tuple[EvidenceUse, Reason], ...] = (
    (pb.EVIDENCE_USE_CONTRADICTS_RECORD, pb.DECISION_REASON_EVIDENCE_CONTRADICTS_RECORD),
    (pb.EVIDENCE_USE_RECALLED, pb.DECISION_REASON_RESULT_RECALLED),
    (pb.EVIDENCE_USE_LAB_NOT_AUTHORIZED, pb.DECISION_REASON_LAB_NOT_AUTHORIZED),
    (pb.EVIDENCE_USE_NOT_YET_REPORTED, pb.DECISION_REASON_NOT_YET_REPORTED),
    (pb.EVIDENCE_USE_SAMPLING_PROOF_NOT_ACCEPTED, pb.DECISION_REASON_NOT_YET_REPORTED),
    (pb.EVIDENCE_USE_INCONCLUSIVE, pb.DECISION_REASON_INCONCLUSIVE_RESULT),
)
"""Why nothing was usable, the strongest reason first. Of anything else the reason is NO_RESULT."""


_COMPARED = frozenset({pb.EVIDENCE_USE_SAME_AS_RECORD, pb.EVIDENCE_USE_CONTRADICTS_RECORD})


def decide(inputs: Inputs) -> Decision:
    """Decide. The order in which records, evidence and sources stand is without effect.

    If the origin is not known and matters, each class is decided over the same look-up, and the best for the holder is
    the answer. It cannot be picked before the records are known. Grounds that one class forbids bind for both.
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
    items = _weigh_each(inputs)
    governing = _find_governing(items)
    valid = hold_to_windows(items, policy.required, inputs)
    if governing is not None:
        for item in valid:
            item.use = pb.EVIDENCE_USE_OUTWEIGHED
        return _refuse_for_positive(inputs, policy, items, governing)
    if valid:
        return _recognize(inputs, items, valid)
    return _explain_lack(inputs, policy, items)


def _weigh_each(inputs: Inputs) -> list[Item]:
    """Step 2: every record and piece of evidence, in an order of their own, those that cannot count marked so."""
    records = _newest_revisions(inputs)
    items = [weigh_record(record, inputs) for record in records]
    if inputs.evidence:
        by_report = {(record.lab, record.report_number): record for record in records}
        shown = [weigh_evidence(evidence, claim, by_report, inputs) for evidence, claim in _pairs(inputs)]
        items.extend([_only_compared(item) for item in shown] if inputs.own_records_alone else shown)
    return items


def _only_compared(item: Item) -> Item:
    """Evidence beside records that are to suffice: it may equal or contradict one, and counts for nothing itself."""
    if item.use in _COMPARED:
        return item
    return Item(item.subject, pb.EVIDENCE_USE_NOT_NEEDED)


def _newest_revisions(inputs: Inputs) -> Sequence[Record]:
    """The newest revision of each record, by name."""
    records = inputs.records
    claimed = []
    if not inputs.own_records_alone:
        claimed = [claim.record for claim in inputs.claims if claim.record is not None]
    if len(records) + len(claimed) <= 1:
        return records or claimed
    newest: dict[str, Record] = {}
    for record in (*records, *claimed):
        other = newest.get(record.name)
        if other is None or order_of_record(record) > order_of_record(other):
            newest[record.name] = record
    return [newest[name] for name in sorted(newest)]


def _find_governing(items: Iterable[Item]) -> Item | None:
    """Step 3: the positive, or else the pool, that no recorded negative with a later sample time has cleared."""
    cleared_before: Instant | None = None
    adverse: list[Item] = []
    for item in items:
        if item.use != USABLE:
            continue
        subject = item.subject
        if subject.outcome in (POSITIVE, POOL_POSITIVE):
            if isinstance(subject, Record):
                adverse.append(item)
            else:
                item.use = pb.EVIDENCE_USE_NOT_RECORDED
        elif subject.outcome == NEGATIVE and isinstance(subject, Record):
            later = cleared_before is None or subject.sample_time > cleared_before
            cleared_before = subject.sample_time if later else cleared_before
    governing: Item | None = None
    for item in adverse:
        if cleared_before is not None and item.sample_time < cleared_before:
            item.use = pb.EVIDENCE_USE_CLEARED
            continue
        item.use = pb.EVIDENCE_USE_GOVERNS
        if governing is None or _governs_before(item) > _governs_before(governing):
            governing = item
    return governing


def _governs_before(item: Item) -> tuple[bool, Instant]:
    return item.subject.outcome == POSITIVE, item.sample_time


def _recognize(inputs: Inputs, items: list[Item], valid: list[Item]) -> Decision:
    """Step 4, its end: the item that expires last is the one that is used."""
    for item in valid:
        item.use = pb.EVIDENCE_USE_OTHER_EXPIRES_LATER
    # max() keeps the first of equals, and items stand in an order of their own.
    used = valid[0] if len(valid) == 1 else max(valid, key=_preference)
    used.use = pb.EVIDENCE_USE_USED
    recorded = isinstance(used.subject, Record)
    return _compose(
        inputs,
        items,
        pb.DECISION_OUTCOME_RECOGNIZED,
        pb.DECISION_REASON_VALID,
        basis=pb.DECISION_BASIS_RECORD if recorded else pb.DECISION_BASIS_PRESENTED,
        rests_on=used,
    )


def _preference(item: Item) -> tuple[Instant, bool, Instant, bool]:
    assert item.expire_time is not None
    return item.expire_time, isinstance(item.subject, Record), item.sample_time, not item.is_sampling


def _refuse_for_positive(inputs: Inputs, policy: EffectivePolicy, items: list[Item], governing: Item) -> Decision:
    """Step 3, its end."""
    reason: Reason = pb.DECISION_REASON_POSITIVE_RESULT
    rechecks: list[NextStep] = []
    if governing.subject.outcome == POOL_POSITIVE:
        reason = pb.DECISION_REASON_PENDING_RECHECK
        rechecks = [
            NextStep(next_step_pb2.NEXT_STEP_ACTION_RECHECK_SINGLE_TUBE, item.subject.lab, item.subject.report_number)
            for item in items
            if item.use == pb.EVIDENCE_USE_GOVERNS
        ]
    return _compose(
        inputs,
        items,
        pb.DECISION_OUTCOME_NOT_RECOGNIZED,
        reason,
        rests_on=governing,
        more_next_steps=rechecks,
        refusal_permitted=may_refuse_for_positive(policy, inputs.sources),
    )


def _explain_lack(inputs: Inputs, policy: EffectivePolicy, items: list[Item]) -> Decision:
    """Nothing counts. It is a lack only if nothing may be hidden, no source is away, and the nation was asked."""
    unknown = _why_unknown(inputs)
    if unknown is not None:
        away = unknown == pb.DECISION_REASON_SOURCE_UNAVAILABLE
        more = _ask_again(inputs) if away else ()
        return _compose(inputs, items, pb.DECISION_OUTCOME_UNDETERMINED, unknown, more_next_steps=more)
    expired = [item for item in items if item.use == pb.EVIDENCE_USE_EXPIRED]
    uses = {item.use for item in items}
    reason: Reason = pb.DECISION_REASON_EXPIRED
    if not expired:
        reason = next((reason for use, reason in _REASON_OF_USE if use in uses), pb.DECISION_REASON_NO_RESULT)
    return _compose(
        inputs,
        items,
        pb.DECISION_OUTCOME_NOT_RECOGNIZED,
        reason,
        rests_on=max(expired, key=_preference) if expired else None,
        refusal_permitted=may_refuse_for_lack(policy, inputs.sources, uses),
    )


def _why_unknown(inputs: Inputs) -> Reason | None:
    """Why nothing that counts cannot be called a lack."""
    if inputs.history_cut:
        return pb.DECISION_REASON_HISTORY_CUT
    if is_away(inputs.sources):
        return pb.DECISION_REASON_SOURCE_UNAVAILABLE
    return None if was_nation_asked(inputs.sources) else pb.DECISION_REASON_NATION_NOT_ASKED


def _decide_without_weighing(inputs: Inputs, outcome: DecisionOutcome, reason: Reason) -> Decision:
    """Step 1: no rule is known, or it asks for nothing."""
    subjects: list[Record | Evidence] = [*_newest_revisions(inputs)]
    subjects.extend(evidence for evidence, _ in _pairs(inputs))
    items = [Item(subject, pb.EVIDENCE_USE_NOT_NEEDED) for subject in subjects]
    unknown = reason == pb.DECISION_REASON_SOURCE_UNAVAILABLE
    return _compose(inputs, items, outcome, reason, more_next_steps=_ask_again(inputs) if unknown else ())


def _pairs(inputs: Inputs) -> list[tuple[Evidence, Claim]]:
    """Evidence with what was found of it, in an order of its own."""
    if not inputs.evidence:
        return []
    claims = inputs.claims or (NOT_LOOKED_UP,) * len(inputs.evidence)
    return sorted(zip(inputs.evidence, claims, strict=True), key=order_of_evidence)


def _ask_again(inputs: Inputs) -> list[NextStep]:
    sources = sorted({source.source for source in inputs.sources if source.state in AWAY})
    return [NextStep(next_step_pb2.NEXT_STEP_ACTION_ASK_AGAIN, source=source) for source in sources]


def _compose(
    inputs: Inputs,
    items: list[Item],
    outcome: DecisionOutcome,
    reason: Reason,
    *,
    basis: DecisionBasis = pb.DECISION_BASIS_UNSPECIFIED,
    rests_on: Item | None = None,
    more_next_steps: Sequence[NextStep] = (),
    refusal_permitted: bool = False,
) -> Decision:
    """The decision, explained by everything that was weighed."""
    next_steps = [item.next_step for item in items if item.next_step is not None]
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
        tuple([Considered(item.subject, item.use, item.expire_time, item.differing_fields) for item in items]),
        in_order(inputs.sources),
        tuple(dict.fromkeys(next_steps)) if next_steps else (),
        refusal_permitted,
        _gate_row(inputs, outcome, reason, refusal_permitted),
        inputs.policy,
    )


def _gate_row(inputs: Inputs, outcome: DecisionOutcome, reason: Reason, refusal_permitted: bool) -> GateRow:
    """What the gate does."""
    policy = inputs.policy
    if policy is None:
        heard = POLICY_AWAY
    elif outcome == pb.DECISION_OUTCOME_RECOGNIZED:
        # The row is the same whoever was heard.
        heard = EVERYBODY
    else:
        heard = who_was_heard(inputs.sources)
    may_refuse = policy is not None and policy.required is not None and policy.required.refusal_permitted
    return gate_row(outcome, reason, heard, refusal_permitted=refusal_permitted, rule_may_refuse=may_refuse)
