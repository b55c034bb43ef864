"""Step 2 of a decision: which records and which evidence can count at all, and why the others cannot. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hutong.results.v1 import next_step_pb2
from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import MINUTE, Instant, Span
from services.domain.names import DEFAULT_ITEM
from services.verification.decision.evidence import differing_fields, is_ahead_of_record
from services.verification.decision.model import (
    ACTIVE,
    NOT_AUTHORIZED,
    OTHER_ITEM,
    OTHER_PERSON,
    PENDING,
    Claim,
    Evidence,
    Inputs,
    NextStep,
    Record,
)

if TYPE_CHECKING:
    from services.verification.decision.model import EvidenceUse, Standing

CLOCK_TOLERANCE: Span = 5 * MINUTE
"""How far ahead of our clock a time may lie: laboratories' clocks are kept less well than servers'."""

USABLE = pb.EVIDENCE_USE_UNSPECIFIED
"""What an item is until a step says otherwise; no decision is ever sent with it."""


@dataclass(slots=True)
class Item:
    """A record or piece of evidence on its way through the steps, each of which may settle its use."""

    subject: Record | Evidence
    use: EvidenceUse
    basis_time: Instant | None = None
    expire_time: Instant | None = None
    differing_fields: tuple[str, ...] = ()
    next_step: NextStep | None = None
    is_sampling: bool = False
    """Whether it counts as the record of a sampling, whatever its report says or will say."""

    @property
    def sample_time(self) -> Instant:
        """When the specimen was taken; where evidence does not show it, before everything."""
        sample_time = self.subject.sample_time
        return -(1 << 62) if sample_time is None else sample_time


def weigh_record(record: Record, inputs: Inputs) -> Item:
    """A record, usable or with the reason why not."""
    if record.item != DEFAULT_ITEM:
        return Item(record, pb.EVIDENCE_USE_OTHER_ITEM)
    if record.state != ACTIVE:
        return Item(record, pb.EVIDENCE_USE_RECALLED)
    return Item(record, _fault(record, record.lab_standing, inputs, record.receive_time, record.test_time))


def weigh_evidence(evidence: Evidence, claim: Claim, records: Mapping[tuple[str, str], Record], inputs: Inputs) -> Item:
    """A piece of evidence: the same as its record, contradicting it, or without one and then of equal force.

    Evidence of another item, or whose record is of another item, has no effect.
    `records` holds the newest revision of each of the person's records by laboratory and report number.
    """
    if evidence.item != DEFAULT_ITEM or claim.state == OTHER_ITEM:
        return Item(evidence, pb.EVIDENCE_USE_OTHER_ITEM)
    if not evidence.lab or not evidence.report_number:
        return Item(evidence, pb.EVIDENCE_USE_NOT_IDENTIFIABLE)
    record = records.get((evidence.lab, evidence.report_number))
    if record is not None and record.item != DEFAULT_ITEM:
        return Item(evidence, pb.EVIDENCE_USE_OTHER_ITEM)
    if record is not None:
        differing = differing_fields(evidence, record)
        if differing:
            return _contradiction(evidence, differing)
        if not is_ahead_of_record(evidence, record):
            return Item(evidence, pb.EVIDENCE_USE_SAME_AS_RECORD)
    elif claim.state == OTHER_PERSON:
        return _contradiction(evidence, ("person",))
    item = Item(evidence, _fault(evidence, claim.lab_standing, inputs))
    if claim.retention_start_time is None:
        # Otherwise its record may have been removed, and the laboratory would be refused.
        item.next_step = NextStep(next_step_pb2.NEXT_STEP_ACTION_UPLOAD_REPORT, evidence.lab, evidence.report_number)
    return item


def _contradiction(evidence: Evidence, differing: tuple[str, ...]) -> Item:
    return Item(
        evidence,
        pb.EVIDENCE_USE_CONTRADICTS_RECORD,
        differing_fields=differing,
        next_step=NextStep(next_step_pb2.NEXT_STEP_ACTION_EXAMINE_EVIDENCE, evidence.lab, evidence.report_number),
    )


def _fault(
    subject: Record | Evidence,
    standing: Standing,
    inputs: Inputs,
    receive_time: Instant | None = None,
    test_time: Instant | None = None,
) -> EvidenceUse:
    """Why something does not count whatever it says, or USABLE."""
    if standing in NOT_AUTHORIZED:
        return pb.EVIDENCE_USE_LAB_NOT_AUTHORIZED
    latest: Instant | None = None
    for instant in (subject.sample_time, receive_time, test_time, subject.report_time):
        if instant is None:
            continue
        if latest is not None and instant < latest:
            return pb.EVIDENCE_USE_TIMES_IMPOSSIBLE
        latest = instant
    if latest is None:
        return pb.EVIDENCE_USE_NOT_IDENTIFIABLE
    if latest > inputs.evaluate_time + CLOCK_TOLERANCE:
        return pb.EVIDENCE_USE_TIMES_IMPOSSIBLE
    if subject.outcome != PENDING:
        if subject.report_time is None and isinstance(subject, Record):
            return pb.EVIDENCE_USE_TIMES_IMPOSSIBLE
        if (latest if subject.report_time is None else subject.report_time) > inputs.issued_until:
            return pb.EVIDENCE_USE_NOT_YET_REPORTED
    return USABLE
