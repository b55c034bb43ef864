"""When a negative stops counting, by a window and by the shortest windows of floors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.instant import DAY, HOUR
from services.verification.decision.model import REPORT_TIME, ShortestWindow, Window
from services.verification.decision.window import last_expiry
from tests.support.verification.decision_inputs import NOON

MIDNIGHT = NOON + 12 * HOUR
shortest = st.builds(
    lambda hours, days, in_days, included: ShortestWindow(
        None if in_days else hours * HOUR, days if in_days else None, included
    ),
    st.integers(1, 96),
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
)


def window(hours: int | None = None, days: int | None = None, *, included: bool = False) -> Window:
    """Return a window of hours or of calendar days, from the report."""
    return Window(None if hours is None else hours * HOUR, days, REPORT_TIME, included)


@pytest.mark.parametrize(
    ("own", "floors", "end", "included"),
    [
        (window(24), [], NOON + DAY, False),
        (window(24), [ShortestWindow(48 * HOUR, None, False)], NOON + 2 * DAY, False),
        (window(48, included=True), [ShortestWindow(24 * HOUR, None, False)], NOON + 2 * DAY, True),
        (window(24), [ShortestWindow(24 * HOUR, None, True)], NOON + DAY, True),
        (window(24, included=True), [ShortestWindow(24 * HOUR, None, False)], NOON + DAY, True),
        (window(days=1), [ShortestWindow(36 * HOUR, None, False)], MIDNIGHT + DAY, False),
        (window(days=1), [ShortestWindow(36 * HOUR, None, True)], MIDNIGHT + DAY, True),
        (window(36), [ShortestWindow(None, 1, True)], MIDNIGHT + DAY, False),
        (window(days=3), [ShortestWindow(90 * HOUR, None, False)], NOON + 90 * HOUR, False),
        (
            window(12),
            [ShortestWindow(24 * HOUR, None, False), ShortestWindow(None, 2, False)],
            MIDNIGHT + 2 * DAY,
            False,
        ),
    ],
)
def test_latest_end_counts(own: Window, floors: list[ShortestWindow], end: int, included: bool) -> None:
    """All from the same instant, noon; of equal ends the one that includes its instant."""
    assert last_expiry(own, floors, NOON) == (end, included)


@given(st.integers(1, 96), st.booleans(), shortest, shortest, st.integers(0, 3 * DAY))
def test_two_count_as_the_later_of_both(
    hours: int, included: bool, one: ShortestWindow, other: ShortestWindow, basis: int
) -> None:
    """The order does not matter, and no window shortens the other."""
    own = window(hours, included=included)
    both = last_expiry(own, (one, other), basis)
    assert both == last_expiry(own, (other, one), basis)
    assert both == max(last_expiry(own, (one,), basis), last_expiry(own, (other,), basis))
    assert both >= last_expiry(own, (), basis)
