"""Delays in classes: quantiles that are never too short, at most a twentieth too long, and exact counts."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from services.domain.instant import DAY, HOUR, SECOND, Span
from services.results.timeliness.delays import Timeliness, delay_class, longest_of_class, quantile_of, timeliness_of

delays = st.integers(-HOUR, 400 * DAY)


@given(delays)
def test_a_delay_lies_in_its_class(delay: Span) -> None:
    """The class is a twentieth wide; what took no second, or less than no time by another clock, is of the first."""
    class_ = delay_class(delay)
    longest = longest_of_class(class_)
    assert max(delay, 0) <= longest + 1
    if delay > SECOND:
        assert longest <= delay * 1.0501 + SECOND
    else:
        assert (class_, longest) == (0, SECOND)


@given(delays, delays)
def test_a_longer_delay_is_never_of_a_lower_class(one: Span, other: Span) -> None:
    assert (delay_class(one) <= delay_class(other)) == (one <= other) or delay_class(one) == delay_class(other)


def test_a_class_fits_its_column() -> None:
    """A small integer, for the longest delay there can be: since December 2019."""
    assert delay_class(10_000 * DAY) < 2**15


@given(st.lists(delays, min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99]))
def test_aquantile_is_at_most_a_twentieth_too_long(found: list[Span], share: float) -> None:
    """As the nearest rank has it."""
    counts = Counter(map(delay_class, found))
    exact = max(sorted(found)[math.ceil(share * len(found)) - 1], 0)
    told = quantile_of(counts, len(found), share)
    assert told is not None
    assert exact <= told + 1
    assert told <= max(exact * 1.0501, SECOND) + SECOND


@given(st.lists(delays, max_size=60))
@example([4 * HOUR])
@example([4 * HOUR - SECOND, 4 * HOUR + SECOND])
@example([int(4 * HOUR * 1.0502)])
def test_nobody_within_the_threshold_is_called_late(found: list[Span]) -> None:
    """And whoever is a twentieth and more beyond it is."""
    timeliness = timeliness_of(Counter(map(delay_class, found)), Counter(), None, 4 * HOUR)
    assert timeliness.result_count == len(found)
    assert timeliness.late_count >= sum(delay > 4 * HOUR * 1.0501 for delay in found)
    assert timeliness.late_count <= sum(delay > 4 * HOUR for delay in found)


def test_nothing_counted_has_noquantiles() -> None:
    """An hour without results is not a prompt one."""
    assert timeliness_of(Counter(), Counter(), None, HOUR) == Timeliness(0, None, None, 0, None)
