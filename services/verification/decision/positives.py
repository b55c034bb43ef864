"""Finds the recorded positives that stand against the holder (step 3 of a decision). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import Instant
from services.verification.decision.items import ItemRules
from services.verification.decision.model import NEGATIVE, POOL_POSITIVE, POSITIVE, Inputs, Record, Requirement
from services.verification.decision.weigh import USABLE, Weighed


def find_governing(
    weighed: Iterable[Weighed], items: ItemRules, required: Requirement, inputs: Inputs
) -> Weighed | None:
    """Return the positive that governs; None if none stands. Mark every positive with its use.

    A recorded positive of an adverse item stands inside the policy's adverse window, until a recorded negative with a
    later sample time clears it. Of the standing positives one governs: a positive comes before a positive pool, then a
    weightier item before a lighter one, then a later sample time before an earlier one.
    """
    adverse: list[Weighed] = []
    for one in weighed:
        if one.use == USABLE and one.subject.outcome in POSITIVES:
            if not isinstance(one.subject, Record):
                one.use = pb.EVIDENCE_USE_NOT_RECORDED
            elif one.subject.item in items.ranks:
                adverse.append(one)
            else:
                one.use = pb.EVIDENCE_USE_NOT_ADVERSE
    return _mark(adverse, weighed, items, required, inputs) if adverse else None


POSITIVES = frozenset({POSITIVE, POOL_POSITIVE})


def _mark(
    adverse: list[Weighed], weighed: Iterable[Weighed], items: ItemRules, required: Requirement, inputs: Inputs
) -> Weighed | None:
    ranks = items.ranks
    cleared_before = newest_negatives(weighed, ranks)
    governing: Weighed | None = None
    for one in adverse:
        rank = ranks[one.subject.item]
        if one.sample_time < cleared_before[rank]:
            one.use = pb.EVIDENCE_USE_CLEARED
        elif required.adverse_window is not None and inputs.use_time >= one.sample_time + required.adverse_window:
            one.use = pb.EVIDENCE_USE_NOT_ADVERSE
        else:
            one.use = pb.EVIDENCE_USE_GOVERNS
            if governing is None or _governs_before(one, ranks) > _governs_before(governing, ranks):
                governing = one
    return governing


def newest_negatives(weighed: Iterable[Weighed], ranks: Mapping[str, int]) -> list[Instant]:
    """Return for each rank the sample time of the newest recorded negative that can clear its positives.

    A negative clears the positives of its own item and of the items after its own, if these positives were sampled
    before the negative.
    """
    cleared_before = [_NEVER] * len(ranks)
    for one in weighed:
        subject = one.subject
        if one.use != USABLE or subject.outcome != NEGATIVE or not isinstance(subject, Record):
            continue
        rank = ranks.get(subject.item)
        if rank is not None:
            cleared_before[rank] = max(cleared_before[rank], subject.sample_time)
    for rank in range(1, len(cleared_before)):
        cleared_before[rank] = max(cleared_before[rank], cleared_before[rank - 1])
    return cleared_before


_NEVER: Instant = -(1 << 62)
"""An instant before every sample time."""


def find_clearing(weighed: Iterable[Weighed], valid: Iterable[Weighed], items: ItemRules) -> list[Weighed]:
    """Return the valid evidence that would clear all governing positives if it were a record.

    Records are not returned. A positive that a record clears does not govern.
    """
    governing = [one for one in weighed if one.use == pb.EVIDENCE_USE_GOVERNS]
    newest = max(one.sample_time for one in governing)
    weightiest = min(items.ranks[one.subject.item] for one in governing)
    return [
        one
        for one in valid
        if one.subject.outcome == NEGATIVE
        and not one.is_sampling
        and one.sample_time > newest
        and items.ranks.get(one.subject.item, len(items.ranks)) <= weightiest
    ]


def _governs_before(one: Weighed, ranks: Mapping[str, int]) -> tuple[bool, int, Instant]:
    return one.subject.outcome == POSITIVE, -ranks[one.subject.item], one.sample_time
