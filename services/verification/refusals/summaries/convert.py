"""Converts summaries between messages and values."""

from __future__ import annotations

from google.type.interval_pb2 import Interval
from hutong.type.v1.purpose_pb2 import Purpose
from hutong.verification.v1.decision_counts_pb2 import DecisionCounts
from hutong.verification.v1.refusal_pb2 import VenueKind
from hutong.verification.v1.refusal_service_pb2 import (
    DecisionSummary,
    GroundSummary,
    RefusalCounts,
    RefusalRates,
    RefusalSummary,
    SummarizeRefusalsRequest,
)
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.domain.instant import from_timestamp, optional_timestamp, to_duration, to_timestamp
from services.domain.names import format_node
from services.verification.refusals.convert import check_place_and_time
from services.verification.refusals.summaries.model import DISTRICT, WITHOUT_DECISIONS, Counts, Summary, SummaryQuestion


def question_from_proto(request: SummarizeRefusalsRequest) -> SummaryQuestion:
    """Return what a summary is asked for.

    Raises:
        InvalidArgument: the region is unknown, a time is impossible, or the interval is empty.
    """
    check_place_and_time(request.region, request.interval, "interval")
    start_time, end_time = from_timestamp(request.interval.start_time), from_timestamp(request.interval.end_time)
    if end_time <= start_time:
        raise InvalidArgument.field("interval", english("its end must be after the start"))
    return SummaryQuestion(
        request.region,
        start_time,
        end_time,
        request.period,
        tuple(request.groupings) or (DISTRICT,),
        request.unanswered_only,
    )


def summary_to_proto(summary: Summary, *, counts_decisions: bool) -> RefusalSummary:
    """Return the message of a row. `counts_decisions` says whether decisions are counted here."""
    key = summary.key
    message = RefusalSummary(
        region=key.region,
        interval=Interval(start_time=to_timestamp(key.start_time), end_time=to_timestamp(summary.end_time)),
        total=_counts_to_proto(summary.total),
        grounds=[
            GroundSummary(ground=ground, counts=_counts_to_proto(counts))
            for ground, counts in sorted(summary.by_ground.items())
        ],
        grouping=key.grouping,
        venue_kind=VenueKind.ValueType(key.venue_kind),
        purpose=Purpose.ValueType(key.purpose),
        rates=_rates(summary),
    )
    if key.origin_node:
        message.origin_node = format_node(key.origin_node)
    if counts_decisions and key.grouping not in WITHOUT_DECISIONS:
        message.decisions.CopyFrom(
            DecisionSummary(
                decision_count=summary.decided.total,
                by_outcome=DecisionCounts(**summary.decided._asdict()),
                refusal_count=summary.comparable_count,
            )
        )
    return message


def _rates(summary: Summary) -> RefusalRates:
    total = summary.total
    return RefusalRates(
        unlawful_share=_ratio(total.unlawful_count, total.assessed_count),
        answered_share=_ratio(total.answered_count, total.refusal_count),
        overdue_share=_ratio(total.overdue_count, total.refusal_count),
        escalated_share=_ratio(total.escalated_count, total.refusal_count),
        refusals_per_decision=_ratio(summary.comparable_count, summary.decided.total),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _counts_to_proto(counts: Counts) -> RefusalCounts:
    time_to_answer = counts.median_time_to_answer
    return RefusalCounts(
        refusal_count=counts.refusal_count,
        unlawful_count=counts.unlawful_count,
        open_count=counts.open_count,
        pending_count=counts.pending_count,
        overdue_count=counts.overdue_count,
        escalated_count=counts.escalated_count,
        assessed_count=counts.assessed_count,
        answered_count=counts.answered_count,
        median_time_to_answer=None if time_to_answer is None else to_duration(time_to_answer),
        oldest_open_time=optional_timestamp(counts.oldest_open_time),
        last_answer_time=optional_timestamp(counts.last_answer_time),
    )
