"""Converts reported refusals and filters between messages and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.type.interval_pb2 import Interval
from hutong.verification.v1 import refusal_pb2, refusal_service_pb2

from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_region, check_text, check_time
from services.domain.instant import Instant, from_timestamp, optional_timestamp, to_timestamp
from services.domain.names import format_decision, format_node, format_refusal, parse_refusal
from services.verification.refusals.rules import Refusal
from services.verification.refusals.store import RefusalFilter

if TYPE_CHECKING:
    from services.verification.refusals.rules import State


def refusal_to_proto(
    refusal: Refusal, now: Instant, *, with_actors: bool = False, with_words: bool = True
) -> refusal_pb2.Refusal:
    """Return the message of a report. The message contains nothing about the person, except the person's own words.

    `with_words` says whether the caller may read these words.
    """
    return refusal_pb2.Refusal(
        name=format_refusal(refusal.uuid),
        region=refusal.region,
        venue=refusal.venue,
        purpose=refusal.purpose,
        refuse_time=to_timestamp(refusal.refuse_time),
        grounds=refusal.grounds,
        forbidden_grounds=refusal.forbidden_grounds,
        decision=format_decision(refusal.decision) if refusal.decision else "",
        assessment=refusal.assessment,
        state=_state_of(refusal),
        statement=refusal.statement if with_words else "",
        answer=refusal.answer,
        create_time=to_timestamp(refusal.create_time),
        answer_time=optional_timestamp(refusal.answer_time),
        answer_actor=refusal.answer_actor or "" if with_actors else "",
        venue_kind=refusal.venue_kind,
        origin_node=_node(refusal.origin_node),
        assess_node=_node(refusal.assess_node),
        assess_time=optional_timestamp(refusal.assess_time),
        answer_node=_node(refusal.answer_node),
        responsible_node=_node(refusal.responsible_node),
        due_time=to_timestamp(refusal.due_time),
        escalation_count=refusal.escalation_count,
        overdue=refusal.is_overdue(now),
        duplicate_of=format_refusal(refusal.duplicate_of) if refusal.duplicate_of else "",
    )


def _state_of(refusal: Refusal) -> State:
    if refusal.answer_time is not None:
        return refusal_pb2.REFUSAL_STATE_ANSWERED
    return refusal_pb2.REFUSAL_STATE_PENDING if refusal.assess_time is None else refusal_pb2.REFUSAL_STATE_OPEN


def _node(region: str) -> str:
    return format_node(region) if region else ""


def answered_from_proto(request: refusal_service_pb2.AnswerRefusalRequest) -> str:
    """Return the UUID of the report that an answer is for.

    Raises:
        InvalidArgument: the name is malformed, or the answer is a text that cannot be stored.
    """
    found: list[Violation] = []
    check_text(request.answer, "answer", found)
    if found:
        raise InvalidArgument.of(found)
    return parse_refusal(request.name)


def filter_from_proto(request: refusal_service_pb2.ListRefusalsRequest, now: Instant) -> RefusalFilter:
    """Return the filter of a list.

    Raises:
        InvalidArgument: the region is unknown, or a time is impossible.
    """
    check_place_and_time(request.region, request.refuse_interval, "refuse_interval")
    times = request.refuse_interval
    return RefusalFilter(
        request.region,
        tuple(request.grounds),
        tuple(request.assessments),
        tuple(state for state in request.states if state),
        from_timestamp(times.start_time) if times.HasField("start_time") else None,
        from_timestamp(times.end_time) if times.HasField("end_time") else None,
        overdue_at=now if request.overdue else None,
    )


def check_place_and_time(region: str, interval: Interval, field: str) -> None:
    """Check the region and the interval of a request. The region may be empty, and either end may be absent.

    Raises:
        InvalidArgument: the region is unknown, or a time is impossible.
    """
    found: list[Violation] = []
    if region:
        check_region(region, "region", found)
    if interval.HasField("start_time"):
        check_time(interval.start_time, f"{field}.start_time", found)
    if interval.HasField("end_time"):
        check_time(interval.end_time, f"{field}.end_time", found)
    if found:
        raise InvalidArgument.of(found)
