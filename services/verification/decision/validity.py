"""Finds the negatives and sampling records that count at the use time, inside their windows. Pure.

Evidence may lack one of its times. A missing report time is not before the sample time, and a missing sample time is
not after the report time. A report without a report time may have been issued after the use time. If these bounds do
not settle whether evidence counts, it is NOT_COMPARABLE.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import Instant
from services.verification.decision.items import ItemRules
from services.verification.decision.model import (
    INCONCLUSIVE,
    NEGATIVE,
    PENDING,
    REPORT_TIME,
    Inputs,
    Requirement,
    Window,
)
from services.verification.decision.weigh import CLOCK_TOLERANCE, USABLE, Weighed
from services.verification.decision.window import basis_time, last_expiry

if TYPE_CHECKING:
    from services.verification.decision.model import Evidence, EvidenceUse, Record

_WAS_UNKNOWN = frozenset({NEGATIVE, INCONCLUSIVE})
"""Outcomes of a report that counts as a sampling record until it is issued."""
_USES_OF_ISSUED = frozenset({pb.EVIDENCE_USE_EXPIRED, pb.EVIDENCE_USE_INCONCLUSIVE})
"""Uses that are right only if the report was issued by the use time. Until then it may count as a sampling record."""


def hold_to_windows(
    weighed: Iterable[Weighed], items: ItemRules, required: Requirement, inputs: Inputs
) -> list[Weighed]:
    """Return what counts at the use time (step 4). Mark all else with the reason why it does not count."""
    accepted = items.accepted
    valid: list[Weighed] = []
    for one in weighed:
        subject = one.subject
        if one.use != USABLE:
            if not _was_sampled_only(one) or subject.item not in accepted:
                continue
            use = _hold_to_proof_window(one, required, inputs, unless=one.use)
        elif subject.item not in accepted:
            use = pb.EVIDENCE_USE_ITEM_NOT_ACCEPTED
        elif subject.outcome == NEGATIVE:
            window = accepted[subject.item] or required.window
            basis = basis_time(window, subject.sample_time, subject.report_time)
            if basis is not None:
                use = _hold_to_window(one, window, required, basis, inputs.use_time)
            else:
                use = _hold_without_basis(one, window, required, inputs.use_time)
        elif subject.outcome == PENDING:
            use = _hold_to_proof_window(one, required, inputs, unless=pb.EVIDENCE_USE_SAMPLING_PROOF_NOT_ACCEPTED)
        else:
            use = pb.EVIDENCE_USE_INCONCLUSIVE
        if use in _USES_OF_ISSUED and _may_be_sampled_only(subject, required, inputs):
            use = pb.EVIDENCE_USE_NOT_COMPARABLE
        if use == USABLE and one.is_comparable:
            valid.append(one)
            continue
        if use in (USABLE, pb.EVIDENCE_USE_NOT_COMPARABLE):
            use = pb.EVIDENCE_USE_NOT_COMPARABLE
            one.basis_time = one.expire_time = None
        one.use = use
    return valid


def _hold_to_window(
    one: Weighed, window: Window, required: Requirement, basis: Instant, use_time: Instant
) -> EvidenceUse:
    """Return USABLE if a negative counts at the use time, counted from `basis`; otherwise EXPIRED."""
    expiry = last_expiry(window, required.shortest_windows, basis)
    one.basis_time = basis
    one.expire_time = expiry.instant
    return USABLE if expiry.is_after(use_time) else pb.EVIDENCE_USE_EXPIRED


def _hold_without_basis(one: Weighed, window: Window, required: Requirement, use_time: Instant) -> EvidenceUse:
    """Return the use of evidence that does not show the basis of the window.

    The other time is a bound: a sample time is the earliest possible report time, and a report time is the latest
    possible sample time.
    """
    counts_from_report = window.basis == REPORT_TIME
    bound = one.subject.sample_time if counts_from_report else one.subject.report_time
    if bound is None:
        return pb.EVIDENCE_USE_NOT_COMPARABLE
    use = _hold_to_window(one, window, required, bound, use_time)
    return use if (use == USABLE) == counts_from_report else pb.EVIDENCE_USE_NOT_COMPARABLE


def _was_sampled_only(one: Weighed) -> bool:
    """Return whether a report was not issued yet at the use time, so that it still was a sampling record.

    Without this rule a person admitted on a sampling record would be refused once the report arrives. A positive report
    never counts as a sampling record.
    """
    return one.use == pb.EVIDENCE_USE_NOT_YET_REPORTED and one.subject.outcome in _WAS_UNKNOWN


def _may_be_sampled_only(subject: Record | Evidence, required: Requirement, inputs: Inputs) -> bool:
    """Return whether a report without a report time would count as a sampling record if it was issued late enough.

    The report would have to be issued after the use time, and no later than CLOCK_TOLERANCE after the time of the
    decision.
    """
    window, sample_time = required.sampling_proof_window, subject.sample_time
    if window is None or subject.report_time is not None or subject.outcome not in _WAS_UNKNOWN:
        return False
    if inputs.issued_until >= inputs.evaluate_time + CLOCK_TOLERANCE:
        return False
    return sample_time is None or (sample_time <= inputs.issued_until and inputs.use_time < sample_time + window)


def _hold_to_proof_window(one: Weighed, required: Requirement, inputs: Inputs, unless: EvidenceUse) -> EvidenceUse:
    """Return USABLE if the report `one` counts as a sampling record at the use time; otherwise return the use `unless`.

    The window begins at the sample time. Without a sample time the use may also be NOT_COMPARABLE.
    """
    window = required.sampling_proof_window
    if window is None:
        return unless
    sample_time, report_time = one.subject.sample_time, one.subject.report_time
    if sample_time is None:
        has_expired = report_time is not None and inputs.use_time >= report_time + window
        return unless if has_expired else pb.EVIDENCE_USE_NOT_COMPARABLE
    one.is_sampling = True
    one.basis_time = sample_time
    one.expire_time = sample_time + window
    counts = sample_time <= inputs.issued_until and inputs.use_time < one.expire_time
    return USABLE if counts else unless
