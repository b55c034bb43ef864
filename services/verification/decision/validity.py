"""Finds the items that count at the use time: negatives and sampling records inside their windows. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hutong.verification.v1 import decision_pb2 as pb

from services.verification.decision.model import INCONCLUSIVE, NEGATIVE, PENDING, Inputs, Requirement
from services.verification.decision.weigh import USABLE, Item
from services.verification.decision.window import basis_time, last_expiry

_WAS_UNKNOWN = frozenset({NEGATIVE, INCONCLUSIVE})
"""Outcomes of a report that counts as a sampling record until it is issued."""


def hold_to_windows(items: Iterable[Item], required: Requirement, inputs: Inputs) -> list[Item]:
    """Return the items that count at the use time (step 4). Mark each other item with the reason why it does not."""
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
    """Return whether an item's report was not issued yet at the use time, so that it still was a sampling record.

    Otherwise someone admitted on a sampling record would be refused once the report arrives. A future positive never
    admits anyone.
    """
    return item.use == pb.EVIDENCE_USE_NOT_YET_REPORTED and item.subject.outcome in _WAS_UNKNOWN


def _hold_to_proof_window(item: Item, required: Requirement, inputs: Inputs) -> bool:
    """Return whether an item counts as a sampling record at the use time. Its window begins at the sample time."""
    sample_time = item.subject.sample_time
    if sample_time is None or required.sampling_proof_window is None:
        return False
    item.is_sampling = True
    item.basis_time = sample_time
    item.expire_time = sample_time + required.sampling_proof_window
    return sample_time <= inputs.issued_until and inputs.use_time < item.expire_time
