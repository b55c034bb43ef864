"""Wire ↔ domain of reports of refusal."""

from __future__ import annotations

from hutong.verification.v1 import refusal_pb2, refusal_service_pb2

from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_region, check_text, check_time
from services.domain.instant import from_timestamp, to_duration, to_timestamp
from services.domain.names import format_decision, format_refusal, parse_refusal
from services.verification.refusals.rules import Refusal
from services.verification.refusals.store import RefusalFilter
from services.verification.refusals.summary import Summary


def refusal_to_proto(refusal: Refusal) -> refusal_pb2.Refusal:
    """A report as it is told: nothing of the person."""
    answered = refusal.answer_time is not None
    return refusal_pb2.Refusal(
        name=format_refusal(refusal.uuid),
        region=refusal.region,
        venue=refusal.venue,
        purpose=refusal.purpose,
        refuse_time=to_timestamp(refusal.refuse_time),
        grounds=refusal.grounds,
        forbidden_grounds=refusal.forbidden_grounds,
        decision=format_decision(refusal.decision) if refusal.decision else "",
        judgement=refusal.judgement,
        state=refusal_pb2.REFUSAL_STATE_ANSWERED if answered else refusal_pb2.REFUSAL_STATE_OPEN,
        statement=refusal.statement,
        answer=refusal.answer,
        create_time=to_timestamp(refusal.create_time),
        answer_time=None if refusal.answer_time is None else to_timestamp(refusal.answer_time),
    )


def answered_from_proto(request: refusal_service_pb2.AnswerRefusalRequest) -> str:
    """Which report an answer is for; InvalidArgument for a malformed name or an answer that cannot be kept."""
    found: list[Violation] = []
    check_text(request.answer, "answer", found)
    if found:
        raise InvalidArgument.of(found)
    return parse_refusal(request.name)


def filter_from_proto(request: refusal_service_pb2.ListRefusalsRequest) -> RefusalFilter:
    """Which reports a list is to hold; InvalidArgument for an unknown region or an impossible time."""
    _check_interval(request)
    states = set(request.states)
    return RefusalFilter(
        request.region,
        tuple(request.grounds),
        tuple(request.judgements),
        states == {refusal_pb2.REFUSAL_STATE_OPEN} if len(states) == 1 else None,
        from_timestamp(request.start_time) if request.HasField("start_time") else None,
        from_timestamp(request.end_time) if request.HasField("end_time") else None,
    )


def summary_filter_from_proto(request: refusal_service_pb2.SummarizeRefusalsRequest) -> RefusalFilter:
    """Which reports a summary counts; InvalidArgument for an unknown region or an empty interval."""
    _check_interval(request)
    start_time, end_time = from_timestamp(request.start_time), from_timestamp(request.end_time)
    if end_time <= start_time:
        raise InvalidArgument.field("end_time", "must be after start_time")
    return RefusalFilter(request.region, start_time=start_time, end_time=end_time)


def summary_to_proto(summary: Summary) -> refusal_service_pb2.RefusalSummary:
    """One row of a summary."""
    time_to_answer = summary.median_time_to_answer
    return refusal_service_pb2.RefusalSummary(
        region=summary.region,
        ground=summary.ground,
        start_time=to_timestamp(summary.start_time),
        end_time=to_timestamp(summary.end_time),
        refusal_count=summary.refusal_count,
        unlawful_count=summary.unlawful_count,
        open_count=summary.open_count,
        median_time_to_answer=None if time_to_answer is None else to_duration(time_to_answer),
    )


def _check_interval(
    request: refusal_service_pb2.ListRefusalsRequest | refusal_service_pb2.SummarizeRefusalsRequest,
) -> None:
    found: list[Violation] = []
    if request.region:
        check_region(request.region, "region", found)
    if request.HasField("start_time"):
        check_time(request.start_time, "start_time", found)
    if request.HasField("end_time"):
        check_time(request.end_time, "end_time", found)
    if found:
        raise InvalidArgument.of(found)
