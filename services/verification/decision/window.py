"""Validity windows: from which instant a result counts, until when, and whether it counts now. Pure."""

from __future__ import annotations

from services.domain.instant import Instant, shanghai_day, shanghai_day_start
from services.verification.decision.model import REPORT_TIME, Window


def basis_time(window: Window, sample_time: Instant | None, report_time: Instant | None) -> Instant | None:
    """Return the instant that validity counts from; None if evidence does not show it."""
    return report_time if window.basis == REPORT_TIME else sample_time


def expire_time(window: Window, basis: Instant) -> Instant:
    """When a negative stops counting. Of calendar days the day of the basis is day 0 and day N the last that counts."""
    if window.calendar_days is not None:
        return shanghai_day_start(shanghai_day(basis) + window.calendar_days + 1)
    assert window.duration is not None
    return basis + window.duration


def counts(window: Window, expire: Instant, use_time: Instant) -> bool:
    """Whether a negative counts at the time of use; at the exact instant it expires only where the place says so."""
    if use_time == expire:
        return window.includes_boundary and window.calendar_days is None
    return use_time < expire
