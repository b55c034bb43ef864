"""Counts reported refusals for supervisors by jurisdiction, ground and time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

from hutong.verification.v1 import refusal_service_pb2

from services.domain.instant import Instant, Span, shanghai_day, shanghai_day_start
from services.verification.refusals.rules import UNLAWFUL

if TYPE_CHECKING:
    from services.verification.decision.model import Ground
    from services.verification.refusals.rules import Assessment

    Period: TypeAlias = refusal_service_pb2.SummaryPeriod.ValueType

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Reported:
    """The part of a report that a summary needs. `time_to_answer` is None while the report is not answered."""

    region: str
    grounds: tuple[Ground, ...]
    assessment: Assessment
    refuse_time: Instant
    time_to_answer: Span | None
    is_unassessed: bool = False
    is_due: bool = False


@dataclass(slots=True)
class Counts:
    """Counts of some reports. Pending reports and overdue reports are reports that are not answered."""

    refusal_count: int = 0
    unlawful_count: int = 0
    pending_count: int = 0
    overdue_count: int = 0
    times_to_answer: list[Span] = field(default_factory=list)

    @property
    def open_count(self) -> int:
        """How many reports are not answered yet."""
        return self.refusal_count - len(self.times_to_answer)

    @property
    def median_time_to_answer(self) -> Span | None:
        """The median over answered reports, or None if no report is answered."""
        return round(median(self.times_to_answer)) if self.times_to_answer else None

    def add(self, reported: Reported) -> None:
        """Count a report."""
        self.refusal_count += 1
        self.unlawful_count += reported.assessment == UNLAWFUL
        if reported.time_to_answer is not None:
            self.times_to_answer.append(reported.time_to_answer)
        else:
            self.pending_count += reported.is_unassessed
            self.overdue_count += reported.is_due


@dataclass(slots=True)
class Summary:
    """One row: the reports of a region in a period, counted together and by ground."""

    region: str
    start_time: Instant
    end_time: Instant
    total: Counts = field(default_factory=Counts)
    by_ground: dict[Ground, Counts] = field(default_factory=dict)

    @property
    def position(self) -> tuple[str, Instant]:
        """The row's position in the order of all rows."""
        return self.region, self.start_time

    def add(self, reported: Reported) -> None:
        """Count a report once in total and once under each of its grounds."""
        self.total.add(reported)
        for ground in reported.grounds:
            self.by_ground.setdefault(ground, Counts()).add(reported)


def summarize(reports: Iterable[Reported], period: Period, start_time: Instant, end_time: Instant) -> list[Summary]:
    """Return the rows that have reports, ordered by region and time.

    Without a period, each region has one row for the whole interval.
    """
    rows: dict[tuple[str, Instant], Summary] = {}
    for reported in reports:
        begin = max(_begin(reported.refuse_time, period), start_time) if period else start_time
        row = rows.get((reported.region, begin))
        if row is None:
            end = min(_end(begin, period), end_time) if period else end_time
            row = rows[reported.region, begin] = Summary(reported.region, begin, end)
        row.add(reported)
    return sorted(rows.values(), key=lambda row: row.position)


def _begin(instant: Instant, period: Period) -> Instant:
    """Return the first instant of the day, week or month in Asia/Shanghai that contains an instant."""
    day = shanghai_day(instant)
    if period == refusal_service_pb2.SUMMARY_PERIOD_DAY:
        return shanghai_day_start(day)
    at = _EPOCH + timedelta(days=day)
    if period == refusal_service_pb2.SUMMARY_PERIOD_WEEK:
        return shanghai_day_start(day - at.weekday())
    return shanghai_day_start(day - at.day + 1)


def _end(begin: Instant, period: Period) -> Instant:
    """Return the first instant of the day, week or month after the one that contains `begin`."""
    first = shanghai_day(_begin(begin, period))
    if period == refusal_service_pb2.SUMMARY_PERIOD_DAY:
        return shanghai_day_start(first + 1)
    if period == refusal_service_pb2.SUMMARY_PERIOD_WEEK:
        return shanghai_day_start(first + 7)
    next_month = (_EPOCH + timedelta(days=first + 31)).replace(day=1)
    return shanghai_day_start((next_month - _EPOCH).days)
