"""Counts of reported refusals for supervisors: by jurisdiction, ground and time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1 import refusal_service_pb2

from services.domain.instant import Instant, Span, shanghai_day, shanghai_day_start
from services.verification.refusals.rules import UNLAWFUL

if TYPE_CHECKING:
    from services.verification.decision.model import Ground
    from services.verification.refusals.rules import Assessment

    Interval: TypeAlias = refusal_service_pb2.SummaryInterval.ValueType

ALL_GROUNDS = refusal_ground_pb2.REFUSAL_GROUND_UNSPECIFIED
MAX_ROWS = 20_000
"""The most rows of one answer: well under the 4 MiB that a gRPC message may have."""
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Reported:
    """What a summary needs of a report; `time_to_answer` None while it is open."""

    region: str
    grounds: tuple[Ground, ...]
    judgement: Assessment
    refuse_time: Instant
    time_to_answer: Span | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One row: a jurisdiction, a time, a ground or all of them together."""

    region: str
    ground: Ground
    start_time: Instant
    end_time: Instant
    refusal_count: int
    unlawful_count: int
    open_count: int
    median_time_to_answer: Span | None


@dataclass(slots=True)
class _Counts:
    refusals: int = 0
    unlawful: int = 0
    times_to_answer: list[Span] = field(default_factory=list)

    def add(self, reported: Reported) -> None:
        self.refusals += 1
        self.unlawful += reported.judgement == UNLAWFUL
        if reported.time_to_answer is not None:
            self.times_to_answer.append(reported.time_to_answer)


def summarize(reports: Iterable[Reported], interval: Interval, start_time: Instant, end_time: Instant) -> list[Summary]:
    """Rows by jurisdiction, time and ground; the one of all grounds together comes first. Only rows with reports."""
    counts: dict[tuple[str, Instant, Ground], _Counts] = {}
    for reported in reports:
        begin = max(_begin(reported.refuse_time, interval), start_time) if interval else start_time
        for ground in (ALL_GROUNDS, *reported.grounds):
            counts.setdefault((reported.region, begin, ground), _Counts()).add(reported)
    return [
        Summary(
            region,
            ground,
            begin,
            min(_end(begin, interval), end_time) if interval else end_time,
            row.refusals,
            row.unlawful,
            row.refusals - len(row.times_to_answer),
            round(median(row.times_to_answer)) if row.times_to_answer else None,
        )
        for (region, begin, ground), row in sorted(counts.items())
    ]


def _begin(instant: Instant, interval: Interval) -> Instant:
    """The first instant of the day, week or month in Asia/Shanghai that holds an instant."""
    day = shanghai_day(instant)
    if interval == refusal_service_pb2.SUMMARY_INTERVAL_DAY:
        return shanghai_day_start(day)
    at = _EPOCH + timedelta(days=day)
    if interval == refusal_service_pb2.SUMMARY_INTERVAL_WEEK:
        return shanghai_day_start(day - at.weekday())
    return shanghai_day_start(day - at.day + 1)


def _end(begin: Instant, interval: Interval) -> Instant:
    """The first instant of the next day, week or month after the one that holds `begin`."""
    first = shanghai_day(_begin(begin, interval))
    if interval == refusal_service_pb2.SUMMARY_INTERVAL_DAY:
        return shanghai_day_start(first + 1)
    if interval == refusal_service_pb2.SUMMARY_INTERVAL_WEEK:
        return shanghai_day_start(first + 7)
    next_month = (_EPOCH + timedelta(days=first + 31)).replace(day=1)
    return shanghai_day_start((next_month - _EPOCH).days)
