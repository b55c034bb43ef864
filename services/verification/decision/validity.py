"""Finds the negatives and sampling records that count at the use time, inside their windows. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hutong.verification.v1 import decision_pb2 as pb

from services.verification.decision.items import ItemRules
from services.verification.decision.model import INCONCLUSIVE, NEGATIVE, PENDING, Inputs, Requirement
from services.verification.decision.weigh import USABLE, Weighed
from services.verification.decision.window import basis_time, last_expiry

_WAS_UNKNOWN = frozenset({NEGATIVE, INCONCLUSIVE})
"""Outcomes of a report that counts as a sampling record until it is issued."""


def hold_to_windows(
    weighed: Iterable[Weighed], items: ItemRules, required: Requirement, inputs: Inputs
) -> list[Weighed]:
    """Return what counts at the use time (step 4). Mark all else with the reason why it does not count."""
    accepted = items.accepted
    valid: list[Weighed] = []
    for one in weighed:
        subject = one.subject
        if one.use != USABLE:
            if _was_sampled_only(one) and subject.item in accepted and _hold_to_proof_window(one, required, inputs):
                valid.append(one)
            continue
        if subject.item not in accepted:
            one.use = pb.EVIDENCE_USE_ITEM_NOT_ACCEPTED
            continue
        outcome = subject.outcome
        if outcome == NEGATIVE:
            window = accepted[subject.item] or required.window
            basis = basis_time(window, subject.sample_time, subject.report_time)
            if basis is None:
                one.use = pb.EVIDENCE_USE_NOT_IDENTIFIABLE
                continue
            one.basis_time = basis
            expiry = last_expiry(window, required.shortest_windows, basis)
            one.expire_time = expiry.instant
            if expiry.is_after(inputs.use_time):
                valid.append(one)
            else:
                one.use = pb.EVIDENCE_USE_EXPIRED
        elif outcome == PENDING:
            if subject.sample_time is None:
                one.use = pb.EVIDENCE_USE_NOT_IDENTIFIABLE
            elif _hold_to_proof_window(one, required, inputs):
                valid.append(one)
            else:
                one.use = pb.EVIDENCE_USE_SAMPLING_PROOF_NOT_ACCEPTED
        else:
            one.use = pb.EVIDENCE_USE_INCONCLUSIVE
    return valid


def _was_sampled_only(one: Weighed) -> bool:
    """Return whether a report was not issued yet at the use time, so that it still was a sampling record.

    Otherwise someone admitted on a sampling record would be refused once the report arrives. A future positive never
    admits anyone.
    """
    return one.use == pb.EVIDENCE_USE_NOT_YET_REPORTED and one.subject.outcome in _WAS_UNKNOWN


def _hold_to_proof_window(one: Weighed, required: Requirement, inputs: Inputs) -> bool:
    """Return whether it counts as a sampling record at the use time. Its window begins at the sample time."""
    sample_time = one.subject.sample_time
    if sample_time is None or required.sampling_proof_window is None:
        return False
    one.is_sampling = True
    one.basis_time = sample_time
    one.expire_time = sample_time + required.sampling_proof_window
    return sample_time <= inputs.issued_until and inputs.use_time < one.expire_time
