"""Weighs records and evidence (step 2 of a decision): which can count at all, and why the others cannot. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hutong.results.v1 import lab_pb2, next_step_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import MINUTE, Instant, Span
from services.verification.decision.evidence import differing_fields, is_ahead_of_record, is_same_as_record
from services.verification.decision.model import (
    ACTIVE,
    NOT_AUTHORIZED,
    NOT_COMPARABLE,
    NOT_FOUND,
    NOT_OURS,
    OTHER_ITEM,
    OTHER_PERSON,
    PENDING,
    Claim,
    Evidence,
    Inputs,
    LabAnswer,
    NextStep,
    Record,
)

if TYPE_CHECKING:
    from services.verification.decision.model import EvidenceUse, Standing

CLOCK_TOLERANCE: Span = 5 * MINUTE
"""The most that a time may be ahead of this node's clock. Later times are impossible.

The limit is wider than CLOCK_SKEW, because clocks of laboratories are less exact than clocks of nodes."""

USABLE = pb.EVIDENCE_USE_UNSPECIFIED
"""The use of a record or piece of evidence until a step sets another use. No decision that is sent contains it."""

_NEVER: Instant = -(1 << 62)
"""An instant before every other."""


@dataclass(slots=True)
class Weighed:
    """A record or piece of evidence with its use, which each step of the decision may set."""

    subject: Record | Evidence
    use: EvidenceUse
    basis_time: Instant | None = None
    expire_time: Instant | None = None
    differing_fields: tuple[str, ...] = ()
    next_step: NextStep | None = None
    is_sampling: bool = False
    """Whether the record or evidence counts as a sampling record. This may be so even if it has a report."""
    lab_answer: LabAnswer | None = None
    """What the laboratory of evidence has answered, if its report has no record."""
    lab: str = ""
    """The laboratory of evidence, by its shown code or found by its name. Empty for records, and if the laboratory is
    not known."""
    is_comparable: bool = True
    """Whether evidence identifies a report by a laboratory and a number. Other evidence never counts.

    The value is also False in this case: The evidence does not show the time at which the laboratory must be
    authorised, so that only the standing at another time is known. At that other time, which is the shown time or now,
    the laboratory was not authorised."""

    @property
    def sample_time(self) -> Instant:
        """The sample time. If evidence does not show it, an instant before all others."""
        sample_time = self.subject.sample_time
        return _NEVER if sample_time is None else sample_time


def weigh_record(record: Record, items: Collection[str], inputs: Inputs) -> Weighed:
    """Return a record as USABLE, or with the reason why it cannot count.

    `items` are the items that the policy weighs.
    """
    if record.item not in items:
        return Weighed(record, pb.EVIDENCE_USE_OTHER_ITEM)
    if record.state != ACTIVE:
        return Weighed(record, pb.EVIDENCE_USE_RECALLED)
    return Weighed(record, _fault(record, record.lab_standing, inputs, record.receive_time, record.test_time))


def weigh_evidence(
    evidence: Evidence,
    claim: Claim,
    records: Mapping[tuple[str, str], Record],
    items: Collection[str],
    inputs: Inputs,
) -> Weighed:
    """Return a piece of evidence with its use.

    Evidence has no effect if the policy does not weigh its item, or if its record is of another item. Other evidence
    equals its record, contradicts its record, or has no record. Evidence without a record counts as much as a record
    would. It does not count if its laboratory denies that it has issued the report. Evidence that identifies no report
    may equal a record with its report number, but cannot contradict one.

    Args:
        evidence: what the holder shows.
        claim: what Results found of its report.
        records: the newest revision of each record of the person, by laboratory and report number.
        items: the items that the policy weighs.
        inputs: all inputs of the decision.
    """
    if evidence.item not in items or claim.state == OTHER_ITEM:
        return Weighed(evidence, pb.EVIDENCE_USE_OTHER_ITEM)
    lab = claim.lab or evidence.lab
    if not lab or not evidence.report_number or claim.state == NOT_COMPARABLE:
        return _weigh_unidentified(evidence, claim, lab, records, inputs)
    record = records.get((lab, evidence.report_number))
    if record is not None and record.item != evidence.item:
        return Weighed(evidence, pb.EVIDENCE_USE_OTHER_ITEM)
    if record is not None:
        differing = differing_fields(evidence, record)
        if differing:
            return _contradiction(evidence, lab, differing)
        if not is_ahead_of_record(evidence, record):
            return Weighed(evidence, pb.EVIDENCE_USE_SAME_AS_RECORD)
    elif claim.state == OTHER_PERSON:
        return _contradiction(evidence, lab, ("person",))
    answer = claim.answer if record is None and claim.state == NOT_FOUND else None
    if answer is not None and answer.answer == NOT_OURS:
        examine = NextStep(next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE, lab, evidence.report_number)
        return Weighed(evidence, pb.EVIDENCE_USE_DENIED_BY_LAB, next_step=examine, lab_answer=answer)
    one = _weigh_by_itself(evidence, claim, lab, inputs)
    one.lab_answer = answer
    if claim.retention_start_time is None:
        # No upload is advised before the retention start time, because Results may have removed the record and would
        # reject the upload.
        one.next_step = NextStep(next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT, lab, evidence.report_number)
    return one


def _weigh_unidentified(
    evidence: Evidence, claim: Claim, lab: str, records: Mapping[tuple[str, str], Record], inputs: Inputs
) -> Weighed:
    """Return evidence that identifies no report, with its use. A later step marks it if it would count."""
    for possible in claim.possible:
        record = records.get((possible.lab, possible.report_number))
        if record is not None and record.item == evidence.item and is_same_as_record(evidence, record):
            return Weighed(evidence, pb.EVIDENCE_USE_SAME_AS_RECORD)
    one = _weigh_by_itself(evidence, claim, lab, inputs)
    one.is_comparable = False
    return one


def _contradiction(evidence: Evidence, lab: str, differing: tuple[str, ...]) -> Weighed:
    return Weighed(
        evidence,
        pb.EVIDENCE_USE_CONTRADICTS_RECORD,
        differing_fields=differing,
        next_step=NextStep(next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE, lab, evidence.report_number),
    )


def _weigh_by_itself(evidence: Evidence, claim: Claim, lab: str, inputs: Inputs) -> Weighed:
    """Return evidence that has no record as USABLE, or with the reason why it cannot count whatever its outcome is.

    A report counts by its laboratory's standing at the report time, and a sampling record by its laboratory's standing
    at the sample time. If evidence does not show that time, the standing is known only at another time, and is no
    reason against the evidence. A laboratory that was not authorised at the other time may have been authorised at the
    right time, so the evidence is then not comparable.
    """
    reference = evidence.sample_time if evidence.outcome == PENDING else evidence.report_time
    if reference is not None:
        return Weighed(evidence, _fault(evidence, claim.lab_standing, inputs), lab=lab)
    use = USABLE
    if evidence.sample_time is not None or evidence.report_time is not None:
        use = _fault(evidence, lab_pb2.LAB_STANDING_UNSPECIFIED, inputs)
    return Weighed(evidence, use, lab=lab, is_comparable=claim.lab_standing not in NOT_AUTHORIZED)


def _fault(
    subject: Record | Evidence,
    standing: Standing,
    inputs: Inputs,
    receive_time: Instant | None = None,
    test_time: Instant | None = None,
) -> EvidenceUse:
    """Return the reason why a record or evidence cannot count, whatever its outcome is.

    Return USABLE if there is no such reason.
    """
    if standing in NOT_AUTHORIZED:
        return pb.EVIDENCE_USE_LAB_NOT_AUTHORIZED
    latest = _NEVER
    for instant in (subject.sample_time, receive_time, test_time, subject.report_time):
        if instant is None:
            continue
        if instant < latest:
            return pb.EVIDENCE_USE_TIMES_IMPOSSIBLE
        latest = instant
    if latest > inputs.evaluate_time + CLOCK_TOLERANCE:
        return pb.EVIDENCE_USE_TIMES_IMPOSSIBLE
    if subject.outcome != PENDING:
        if subject.report_time is None and isinstance(subject, Record):
            return pb.EVIDENCE_USE_TIMES_IMPOSSIBLE
        if (latest if subject.report_time is None else subject.report_time) > inputs.issued_until:
            return pb.EVIDENCE_USE_NOT_YET_REPORTED
    return USABLE
