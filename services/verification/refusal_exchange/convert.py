"""Converts reported refusals between what is stored and what nodes send to each other."""

from __future__ import annotations

from hutong.exchange.v1.replicated_refusal_pb2 import (
    RefusalEvidence,
    RefusalResponsibility,
    ReplicatedAnswer,
    ReplicatedAssessment,
    ReplicatedRefusal,
    ShownDecision,
)
from hutong.type.v1.purpose_pb2 import Purpose
from hutong.verification.v1.refusal_pb2 import REFUSAL_ASSESSMENT_UNSPECIFIED, VENUE_KIND_OTHER, VenueKind
from hutong_texts import english

from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_region, check_text, check_time
from services.domain.instant import Instant, from_timestamp, to_timestamp
from services.domain.names import (
    format_decision,
    format_node,
    format_refusal,
    parse_decision,
    parse_node,
    parse_refusal,
)
from services.domain.region import is_region, within
from services.domain.subject import Pepper
from services.runtime.configuration.settings import MAX_VERSION
from services.runtime.server.validation import check
from services.verification.refusals.masking import mask_identity
from services.verification.refusals.receipts import receipt_code, same_report_key
from services.verification.refusals.routing import ANSWER_WITHIN
from services.verification.refusals.rules import Refusal


def refusal_to_message(refusal: Refusal, own: str, *, to_above: bool) -> ReplicatedRefusal:
    """Return the message that another node gets about a report. `own` is the region of this node."""
    message = ReplicatedRefusal(
        name=format_refusal(refusal.uuid),
        origin_node=format_node(refusal.origin_node),
        create_time=to_timestamp(refusal.create_time),
        region=refusal.region,
        venue=refusal.venue,
        venue_kind=refusal.venue_kind,
        purpose=refusal.purpose,
        refuse_time=to_timestamp(refusal.refuse_time),
        arriving_from=refusal.arriving_from,
        grounds=refusal.grounds,
        subject_key=refusal.subject_key or b"",
        key_version=refusal.key_version,
        other_subject_key=refusal.other_subject_key or b"",
        request_hash=refusal.request_hash or b"",
        duplicate_of=format_refusal(refusal.duplicate_of) if refusal.duplicate_of else "",
    )
    if not to_above or _needs_words_above(refusal, own):
        message.statement = refusal.statement
        shown = RefusalEvidence.FromString(refusal.evidence)
        message.evidence.extend(shown.evidence)
        message.signature_verdicts.extend(shown.signature_verdicts)
        if refusal.shown_decision:
            message.shown_decision.ParseFromString(refusal.shown_decision)
    if refusal.assess_time is not None:
        message.assessment.CopyFrom(
            ReplicatedAssessment(
                node=format_node(refusal.assess_node),
                assess_time=to_timestamp(refusal.assess_time),
                assessment=refusal.assessment,
                forbidden_grounds=refusal.forbidden_grounds,
                decision=format_decision(refusal.decision) if refusal.decision else "",
            )
        )
    if refusal.answer_time is not None:
        message.answer.CopyFrom(
            ReplicatedAnswer(
                node=format_node(refusal.answer_node),
                answer_time=to_timestamp(refusal.answer_time),
                answer=refusal.answer,
            )
        )
    if refusal.responsible_node:
        message.responsibility.CopyFrom(
            RefusalResponsibility(
                node=format_node(refusal.responsible_node),
                due_time=to_timestamp(refusal.due_time),
                escalation_count=refusal.escalation_count,
            )
        )
    return message


def _needs_words_above(refusal: Refusal, own: str) -> bool:
    """Return whether a node above is on the way to the place, or has taken the report over."""
    if not within(refusal.region, own):
        return True
    return bool(refusal.responsible_node) and not within(refusal.responsible_node, own)


def refusal_from_message(message: ReplicatedRefusal, pepper: Pepper, now: Instant) -> Refusal:
    """Return the report of a message, with everything that the sender states about the report.

    Texts are masked again, because the sender may have another version of the masking. If the stated due time is later
    than any node may grant, it becomes the latest possible due time.

    Raises:
        InvalidArgument: no node can have sent the message.
    """
    check(message)
    uuid = parse_refusal(message.name)
    found: list[Violation] = []
    check_region(message.region, "region", found)
    if message.arriving_from:
        check_region(message.arriving_from, "arriving_from", found)
    check_time(message.create_time, "create_time", found)
    check_time(message.refuse_time, "refuse_time", found)
    check_text(message.venue, "venue", found)
    check_text(message.statement, "statement", found)
    check_text(message.answer.answer, "answer.answer", found)
    if message.purpose not in Purpose.values():
        found.append(Violation("purpose", "INVALID_FIELD", english("is not known here")))
    if message.duplicate_of >= message.name:
        found.append(Violation("duplicate_of", "INVALID_FIELD", english("must be an earlier report")))
    if message.key_version > MAX_VERSION:
        found.append(Violation("key_version", "INVALID_FIELD", english("is not known here")))
    if message.subject_key and not message.key_version:
        found.append(Violation("key_version", "INVALID_FIELD", english("is required with a subject key")))
    # A time that is absent is the beginning of 1970, which is permitted.
    check_time(message.assessment.assess_time, "assessment.assess_time", found)
    check_time(message.answer.answer_time, "answer.answer_time", found)
    check_time(message.responsibility.due_time, "responsibility.due_time", found)
    check_time(message.shown_decision.use_time, "shown_decision.use_time", found)
    check_time(message.shown_decision.expire_time, "shown_decision.expire_time", found)
    if found:
        raise InvalidArgument.of(found)
    create_time = from_timestamp(message.create_time)
    refuse_time = from_timestamp(message.refuse_time)
    key, other_key = message.subject_key or None, message.other_subject_key or None
    assessment = message.assessment if message.HasField("assessment") else None
    answer = message.answer if message.HasField("answer") else None
    responsibility = message.responsibility if message.HasField("responsibility") else None
    due_time = create_time if responsibility is None else from_timestamp(responsibility.due_time)
    return Refusal(
        uuid=uuid,
        region=message.region,
        venue=mask_identity(message.venue),
        purpose=message.purpose,
        refuse_time=refuse_time,
        grounds=tuple(sorted(set(message.grounds))),
        forbidden_grounds=tuple(sorted(set(assessment.forbidden_grounds))) if assessment is not None else (),
        decision=parse_decision(assessment.decision) if assessment is not None and assessment.decision else "",
        assessment=assessment.assessment if assessment is not None else REFUSAL_ASSESSMENT_UNSPECIFIED,
        statement=mask_identity(message.statement),
        subject_key=key,
        key_version=message.key_version,
        create_time=create_time,
        answer=mask_identity(answer.answer) if answer is not None else "",
        answer_time=None if answer is None else from_timestamp(answer.answer_time),
        # A node of a later release may know further kinds.
        venue_kind=message.venue_kind if message.venue_kind in VenueKind.values() else VENUE_KIND_OTHER,
        arriving_from=message.arriving_from,
        answer_node="" if answer is None else _region_of(answer.node, "answer.node"),
        origin_node=_region_of(message.origin_node, "origin_node"),
        other_subject_key=other_key,
        code=receipt_code(uuid, pepper.of_version(message.key_version) or pepper),
        evidence=_evidence_of(message),
        shown_decision=_shown(message),
        request_hash=message.request_hash or None,
        same_report_key=same_report_key(key, message.region, message.purpose, refuse_time),
        other_same_report_key=same_report_key(other_key, message.region, message.purpose, refuse_time),
        duplicate_of=parse_refusal(message.duplicate_of, "duplicate_of") if message.duplicate_of else "",
        assess_node="" if assessment is None else _region_of(assessment.node, "assessment.node"),
        assess_time=None if assessment is None else from_timestamp(assessment.assess_time),
        responsible_node="" if responsibility is None else _region_of(responsibility.node, "responsibility.node"),
        due_time=min(due_time, now + ANSWER_WITHIN) if responsibility is not None else create_time + ANSWER_WITHIN,
        escalation_count=0 if responsibility is None else responsibility.escalation_count,
    )


def _evidence_of(message: ReplicatedRefusal) -> bytes:
    """Return the evidence of a message as it is stored. A signed report is removed, because it must not cross."""
    evidence = RefusalEvidence(evidence=message.evidence, signature_verdicts=message.signature_verdicts)
    for shown in evidence.evidence:
        shown.signed_report = ""
    return evidence.SerializeToString()


def _shown(message: ReplicatedRefusal) -> bytes:
    if not message.HasField("shown_decision"):
        return b""
    parse_decision(message.shown_decision.name, "shown_decision.name")
    kept: ShownDecision = message.shown_decision
    return kept.SerializeToString()


def _region_of(node: str, field: str) -> str:
    region = parse_node(node, field)
    if not is_region(region):
        raise InvalidArgument.field(field, english("is no node of a region"))
    return region
