"""The parts of a summary's interval."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hutong.type.v1.summary_period_pb2 import (
    SUMMARY_PERIOD_DAY,
    SUMMARY_PERIOD_MONTH,
    SUMMARY_PERIOD_UNSPECIFIED,
    SUMMARY_PERIOD_WEEK,
)
from hypothesis import given
from hypothesis import strategies as st

from services.domain.instant import SECOND, SHANGHAI, from_datetime
from services.domain.periods import part_of

NAMED = st.sampled_from((SUMMARY_PERIOD_DAY, SUMMARY_PERIOD_WEEK, SUMMARY_PERIOD_MONTH))
ENDS = st.lists(
    st.integers(from_datetime(datetime(2019, 12, 1, tzinfo=UTC)), from_datetime(datetime(2021, 2, 1, tzinfo=UTC))),
    min_size=2,
    max_size=2,
    unique=True,
)


@given(NAMED, ENDS)
def test_parts_fill_the_interval_and_begin_at_midnights(period: int, ends: list[int]) -> None:
    """The parts of an interval meet; each but the first begins on a day, a Monday or a first of the month."""
    start, end = sorted(ends)
    parts = [part_of(start, period, start, end)]  # type: ignore[arg-type]
    while parts[-1][1] < end:
        parts.append(part_of(parts[-1][1], period, start, end))  # type: ignore[arg-type]
    assert (parts[0][0], parts[-1][1]) == (start, end)
    assert all(before[1] == after[0] and before[0] < before[1] for before, after in pairwise(parts))
    for first, last in parts[1:]:
        day = datetime(1970, 1, 1, tzinfo=UTC).astimezone(SHANGHAI) + timedelta(seconds=first / SECOND)
        assert (day.hour, day.minute, day.second) == (0, 0, 0)
        assert period != SUMMARY_PERIOD_WEEK or day.weekday() == 0
        assert period != SUMMARY_PERIOD_MONTH or day.day == 1
        assert part_of(last - 1, period, start, end) == (first, last)  # type: ignore[arg-type]


@given(ENDS)
def test_without_a_period_the_whole_interval_is_one_part(ends: list[int]) -> None:
    """The default of a summary has one row for the whole interval."""
    start, end = sorted(ends)
    assert part_of(start, SUMMARY_PERIOD_UNSPECIFIED, start, end) == (start, end)
