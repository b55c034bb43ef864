"""Classes of delays: quantiles are never too short and at most 5 % too long, and counts are exact."""

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
    """A class is 5 % wide. Delays up to one second, and negative ones by clock skew, are in the first."""
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
    """The class is a small integer even for the longest possible delay, which begins in December 2019."""
    assert delay_class(10_000 * DAY) < 2**15


@given(st.lists(delays, min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_at_most_a_twentieth_too_long(found: list[Span], share: float) -> None:
    """Compares with the quantile by nearest rank."""
    counts = Counter(map(delay_class, found))
    exact = max(sorted(found)[math.ceil(share * len(found)) - 1], 0)
    quantile = quantile_of(counts, len(found), share)
    assert quantile is not None
    assert exact <= quantile + 1
    assert quantile <= max(exact * 1.0501, SECOND) + SECOND


@given(st.lists(delays, max_size=60))
@example([4 * HOUR])
@example([4 * HOUR - SECOND, 4 * HOUR + SECOND])
@example([int(4 * HOUR * 1.0502)])
def test_no_result_within_the_threshold_is_late(found: list[Span]) -> None:
    """Results more than 5 % beyond it are late."""
    timeliness = timeliness_of(Counter(map(delay_class, found)), Counter(), None, 4 * HOUR)
    assert timeliness.result_count == len(found)
    assert timeliness.late_count >= sum(delay > 4 * HOUR * 1.0501 for delay in found)
    assert timeliness.late_count <= sum(delay > 4 * HOUR for delay in found)


def test_nothing_counted_has_no_quantiles() -> None:
    """An hour without results does not count as prompt."""
    assert timeliness_of(Counter(), Counter(), None, HOUR) == Timeliness(0, None, None, 0, None)
