"""Which of the weighed items count at the time of use: negatives in their window, sampling records in theirs. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hutong.verification.v1 import decision_pb2 as pb

from services.verification.decision.model import INCONCLUSIVE, NEGATIVE, PENDING, Inputs, Requirement
from services.verification.decision.weigh import USABLE, Item
from services.verification.decision.window import basis_time, last_expiry

_WAS_UNKNOWN = frozenset({NEGATIVE, INCONCLUSIVE})
"""Outcomes that leave a sampling record what it was until their report is issued."""


def hold_to_windows(items: Iterable[Item], required: Requirement, inputs: Inputs) -> list[Item]:
    """Step 4: the items that count at the time of use; each that does not is marked with why."""
    window = required.window
    valid: list[Item] = []
    for item in items:
        if item.use != USABLE:
            if _was_sampled_only(item) and _hold_to_proof_window(item, required, inputs):
                valid.append(item)
            continue
        subject = item.subject
        outcome = subject.outcome
        if outcome == NEGATIVE:
            basis = basis_time(window, subject.sample_time, subject.report_time)
            if basis is None:
                item.use = pb.EVIDENCE_USE_NOT_IDENTIFIABLE
                continue
            item.basis_time = basis
            expiry = last_expiry(window, required.shortest_windows, basis)
            item.expire_time = expiry.instant
            if expiry.is_after(inputs.use_time):
                valid.append(item)
            else:
                item.use = pb.EVIDENCE_USE_EXPIRED
        elif outcome == PENDING:
            if subject.sample_time is None:
                item.use = pb.EVIDENCE_USE_NOT_IDENTIFIABLE
            elif _hold_to_proof_window(item, required, inputs):
                valid.append(item)
            else:
                item.use = pb.EVIDENCE_USE_SAMPLING_PROOF_NOT_ACCEPTED
        else:
            item.use = pb.EVIDENCE_USE_INCONCLUSIVE
    return valid


def _was_sampled_only(item: Item) -> bool:
    """Whether an unusable item had no report yet at the time of use: then its specimen had been taken, and no more.

    Otherwise who was let in on a sampling record would be turned away because its report has come since. A positive to
    come does not let anybody in.
    """
    return item.use == pb.EVIDENCE_USE_NOT_YET_REPORTED and item.subject.outcome in _WAS_UNKNOWN


def _hold_to_proof_window(item: Item, required: Requirement, inputs: Inputs) -> bool:
    """Whether an item counts as a sampling record at the time of use, counted from when the specimen was taken."""
    sample_time = item.subject.sample_time
    if sample_time is None or required.sampling_proof_window is None:
        return False
    item.is_sampling = True
    item.basis_time = sample_time
    item.expire_time = sample_time + required.sampling_proof_window
    return sample_time <= inputs.issued_until and inputs.use_time < item.expire_time
