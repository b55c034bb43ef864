"""Instants and spans: exact on the way to protobuf and back, and days as Shanghai counts them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from services.domain.instant import (
    DAY,
    HOUR,
    SECOND,
    format_instant,
    from_datetime,
    from_duration,
    from_timestamp,
    shanghai_day,
    shanghai_day_start,
    to_duration,
    to_timestamp,
)

FIRST = -62_135_596_800 * SECOND
LAST = 253_402_300_799 * SECOND + 999_999
instants = st.integers(FIRST, LAST)
since_1991 = st.integers(from_datetime(datetime(1991, 9, 15, tzinfo=UTC)), LAST - DAY)


@given(instants)
def test_instants_survive_a_timestamp(instant: int) -> None:
    """Years 1 to 9999, before 1970 too, to the microsecond; and the timestamp is one that protobuf accepts."""
    timestamp = to_timestamp(instant)
    assert 0 <= timestamp.nanos < 1_000_000_000
    assert Timestamp.FromString(timestamp.SerializeToString()) == timestamp
    assert from_timestamp(timestamp) == instant
    assert timestamp.ToMicroseconds() == instant


@given(st.integers(0, 999))
def test_what_lies_below_a_microsecond_is_cut_off(nanos: int) -> None:
    """Never rounded up, so that no result is reported later than it was."""
    assert from_timestamp(Timestamp(seconds=-1, nanos=1000 + nanos)) == -SECOND + 1


@given(st.integers(0, 10_000 * 365 * DAY))
def test_spans_survive_a_duration(span: int) -> None:
    """Up to ten thousand years."""
    assert from_duration(to_duration(span)) == span
    assert Duration.FromString(to_duration(span).SerializeToString()).ToMicroseconds() == span


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-5))])))
def test_an_aware_datetime_names_an_instant(moment: datetime) -> None:
    """The datetime may be in any zone."""
    assert from_datetime(moment) == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_a_naive_datetime_names_none() -> None:
    """A datetime without a time zone is refused."""
    with pytest.raises(ValueError, match="zone"):
        from_datetime(datetime(2022, 8, 11, 9, 30))  # noqa: DTZ001


@given(since_1991)
def test_days_are_those_of_shanghai(instant: int) -> None:
    """The days equal those of the time zone database, for every instant since daylight saving ended."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)
    civil = moment.astimezone(ZoneInfo("Asia/Shanghai")).date()
    assert shanghai_day(instant) == (civil - datetime(1970, 1, 1, tzinfo=UTC).date()).days
    assert format_instant(instant) == moment.astimezone(ZoneInfo("Asia/Shanghai")).isoformat(timespec="seconds")


@given(instants)
def test_a_day_holds_its_instants_and_no_others(instant: int) -> None:
    """A day lasts from its first microsecond to the last one before the next day."""
    day = shanghai_day(instant)
    assert shanghai_day_start(day) <= instant < shanghai_day_start(day + 1) == shanghai_day_start(day) + DAY


def test_midnight_in_shanghai_is_sixteen_hours_utc() -> None:
    """A day begins while it is still yesterday in Greenwich."""
    midnight = from_datetime(datetime(2022, 8, 10, 16, tzinfo=UTC))
    assert shanghai_day(midnight) == shanghai_day(midnight - 1) + 1 == shanghai_day(midnight + 24 * HOUR - 1)
    assert format_instant(midnight) == "2022-08-11T00:00:00+08:00"
