"""The parts into which a summary divides its interval. A part is a day, a week or a month in Asia/Shanghai."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, TypeAlias

from hutong.type.v1 import summary_period_pb2

from services.domain.instant import Instant, shanghai_day, shanghai_day_start

if TYPE_CHECKING:
    Period: TypeAlias = summary_period_pb2.SummaryPeriod.ValueType

_EPOCH = date(1970, 1, 1)


def part_of(instant: Instant, period: Period, start: Instant, end: Instant) -> tuple[Instant, Instant]:
    """Return the start and the end of the part of `[start, end)` that contains an instant.

    Without a period the part is the whole interval.
    """
    if not period:
        return start, end
    first = _first_day(instant, period)
    return max(shanghai_day_start(first), start), min(shanghai_day_start(_next_first_day(first, period)), end)


def _first_day(instant: Instant, period: Period) -> int:
    """Return the first day of the day, week or month that contains an instant."""
    day = shanghai_day(instant)
    if period == summary_period_pb2.SUMMARY_PERIOD_DAY:
        return day
    at = _EPOCH + timedelta(days=day)
    return day - at.weekday() if period == summary_period_pb2.SUMMARY_PERIOD_WEEK else day - at.day + 1


def _next_first_day(first: int, period: Period) -> int:
    """Return the first day of the next day, week or month, given the first day of the current one."""
    if period == summary_period_pb2.SUMMARY_PERIOD_DAY:
        return first + 1
    if period == summary_period_pb2.SUMMARY_PERIOD_WEEK:
        return first + 7
    return ((_EPOCH + timedelta(days=first + 31)).replace(day=1) - _EPOCH).days
