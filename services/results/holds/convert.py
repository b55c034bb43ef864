"""Conversion between legal holds and messages."""

from __future__ import annotations

from google.type.interval_pb2 import Interval
from hutong.results.v1 import legal_hold_pb2
from hutong.results.v1.lab_pb2 import LAB_STANDING_UNSPECIFIED
from hutong.results.v1.legal_hold_service_pb2 import CreateLegalHoldRequest

from services.domain.instant import Instant, optional_timestamp, to_timestamp
from services.domain.names import format_lab, format_legal_hold, parse_lab
from services.domain.subject import Pepper, mask_free_text, mask_number
from services.results.fields import document_from_proto, open_interval
from services.results.holds.model import HeldResult, LegalHold
from services.results.records.convert import result_to_proto


def hold_from_proto(
    request: CreateLegalHoldRequest, pepper: Pepper, hold_id: str, now: Instant, actor: str | None, case_id: str
) -> LegalHold:
    """Return a hold that begins now. Raises InvalidArgument for an impossible number or laboratory."""
    subject_key, other_key, masked_number = None, None, ""
    if request.HasField("document"):
        canonical = document_from_proto(request.document)
        subject_key, other_key = pepper.both_keys(canonical)
        masked_number = mask_number(canonical.number)
    start, end = open_interval(request.report_interval)
    return LegalHold(
        hold_id,
        subject_key,
        other_key,
        masked_number,
        parse_lab(request.lab, "lab") if request.lab else "",
        start,
        end,
        mask_free_text(request.reason),
        now,
        actor,
        case_id,
    )


def hold_to_proto(hold: LegalHold) -> legal_hold_pb2.LegalHold:
    """Return the message of a hold."""
    is_bounded = hold.report_start is not None or hold.report_end is not None
    interval = Interval(start_time=optional_timestamp(hold.report_start), end_time=optional_timestamp(hold.report_end))
    return legal_hold_pb2.LegalHold(
        name=format_legal_hold(hold.hold_id),
        masked_number=hold.masked_number,
        lab=format_lab(hold.lab) if hold.lab else "",
        report_interval=interval if is_bounded else None,
        reason=hold.reason,
        create_time=to_timestamp(hold.create_time),
        actor=hold.actor or "",
        case_id=hold.case_id,
        lift_time=optional_timestamp(hold.lift_time),
        lift_reason=hold.lift_reason,
        lift_actor=hold.lift_actor or "",
    )


def held_to_proto(held: HeldResult) -> legal_hold_pb2.HeldResult:
    """Return the message of a revision that a hold keeps."""
    return legal_hold_pb2.HeldResult(
        test_result=result_to_proto(held.result, LAB_STANDING_UNSPECIFIED),
        revision_reason=held.revision_reason,
        hold_time=to_timestamp(held.hold_time),
    )
