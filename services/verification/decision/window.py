"""Validity windows: from which instant a result counts, until when, and whether it counts now. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from services.domain.instant import Instant, shanghai_day, shanghai_day_start
from services.verification.decision.model import REPORT_TIME, ShortestWindow, Window


class Expiry(NamedTuple):
    """When a negative stops counting.

    If two expiries have the same instant, the expiry that includes the instant is later.
    """

    instant: Instant
    is_included: bool

    def is_after(self, use_time: Instant) -> bool:
        """Return whether a negative still counts at the use time."""
        return use_time < self.instant or (use_time == self.instant and self.is_included)


def basis_time(window: Window, sample_time: Instant | None, report_time: Instant | None) -> Instant | None:
    """Return the instant that validity counts from; None if evidence does not show it."""
    return report_time if window.basis == REPORT_TIME else sample_time


def last_expiry(window: Window, shortest_windows: Iterable[ShortestWindow], basis: Instant) -> Expiry:
    """Return when a negative stops counting: the latest of its expiries by the window and by the shortest windows.

    All these expiries count from the same basis. A place that accepts several items has a window for each, and the
    shortest windows apply to each of them.
    """
    last = _expiry(window, basis)
    for shortest in shortest_windows:
        last = max(last, _expiry(shortest, basis))
    return last


def _expiry(window: Window | ShortestWindow, basis: Instant) -> Expiry:
    """Return when a window ends. In calendar days, the day of the basis is day 0 and day N is the last that counts."""
    if window.calendar_days is not None:
        return Expiry(shanghai_day_start(shanghai_day(basis) + window.calendar_days + 1), is_included=False)
    assert window.duration is not None
    return Expiry(basis + window.duration, window.includes_boundary)
