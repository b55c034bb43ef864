"""Days, weeks and months in Asia/Shanghai, by which a summary is divided. Pure."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TypeAlias

from hutong.verification.v1 import refusal_service_pb2

from services.domain.instant import Instant, shanghai_day, shanghai_day_start

Period: TypeAlias = refusal_service_pb2.SummaryPeriod.ValueType

_EPOCH = date(1970, 1, 1)


def begin_of(instant: Instant, period: Period) -> Instant:
    """Return the first instant of the day, week or month that contains an instant."""
    day = shanghai_day(instant)
    if period == refusal_service_pb2.SUMMARY_PERIOD_DAY:
        return shanghai_day_start(day)
    at = _EPOCH + timedelta(days=day)
    if period == refusal_service_pb2.SUMMARY_PERIOD_WEEK:
        return shanghai_day_start(day - at.weekday())
    return shanghai_day_start(day - at.day + 1)


def end_of(instant: Instant, period: Period) -> Instant:
    """Return the first instant after the day, week or month that contains an instant."""
    first = shanghai_day(begin_of(instant, period))
    if period == refusal_service_pb2.SUMMARY_PERIOD_DAY:
        return shanghai_day_start(first + 1)
    if period == refusal_service_pb2.SUMMARY_PERIOD_WEEK:
        return shanghai_day_start(first + 7)
    next_month = (_EPOCH + timedelta(days=first + 31)).replace(day=1)
    return shanghai_day_start((next_month - _EPOCH).days)
