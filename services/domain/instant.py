"""Instants and spans as integers in microseconds: exact, ordered, cheap, and the same in every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

Instant = int
"""Microseconds since 1970-01-01T00:00:00Z."""
Span = int
"""Microseconds."""

SECOND: Span = 1_000_000
MINUTE: Span = 60 * SECOND
HOUR: Span = 60 * MINUTE
DAY: Span = 24 * HOUR

FIRST_TESTS: Instant = 1_575_129_600 * SECOND
"""2019-12-01 in Asia/Shanghai. The first tests were made later. The contract of uploads accepts no older specimen."""

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
"""The civil time of all of China. Daylight saving ended in 1991, so a fixed offset is exact for results."""
_SHANGHAI_OFFSET: Span = 8 * HOUR


def from_timestamp(timestamp: Timestamp) -> Instant:
    """Return the instant of a protobuf timestamp, truncated to microseconds."""
    return timestamp.seconds * SECOND + timestamp.nanos // 1000


def to_timestamp(instant: Instant) -> Timestamp:
    """Return the protobuf timestamp of an instant."""
    seconds, rest = divmod(instant, SECOND)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def optional_timestamp(instant: Instant | None) -> Timestamp | None:
    """Return the protobuf timestamp of an instant; None for None."""
    return None if instant is None else to_timestamp(instant)


def set_timestamp(timestamp: Timestamp, instant: Instant) -> None:
    """Set a timestamp inside a message. That costs a third of building a timestamp and copying it."""
    timestamp.seconds, rest = divmod(instant, SECOND)
    if rest:
        timestamp.nanos = rest * 1000


def from_duration(duration: Duration) -> Span:
    """Return the span of a protobuf duration, truncated to microseconds."""
    return duration.seconds * SECOND + duration.nanos // 1000


def to_duration(span: Span) -> Duration:
    """Return the protobuf duration of a span that is not negative."""
    seconds, rest = divmod(span, SECOND)
    return Duration(seconds=seconds, nanos=rest * 1000)


def from_datetime(moment: datetime) -> Instant:
    """Return the instant of a datetime. Raises ValueError if the datetime has no time zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone names no instant")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def format_instant(instant: Instant) -> str:
    """Return an instant as ISO 8601 in China's civil time, to the second, such as "2022-08-11T09:30:00+08:00"."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)
    return moment.astimezone(SHANGHAI).isoformat(timespec="seconds")


def shanghai_day(instant: Instant) -> int:
    """Return the calendar day in Asia/Shanghai of an instant. 1970-01-01 is day 0."""
    return (instant + _SHANGHAI_OFFSET) // DAY


def shanghai_day_start(day: int) -> Instant:
    """Return the first instant of a day, given by its number as in `shanghai_day`."""
    return day * DAY - _SHANGHAI_OFFSET
