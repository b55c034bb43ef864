"""The only source of the current time. Code that needs the time gets a clock, so that a test can set the time."""

from __future__ import annotations

import time
from typing import Protocol

from services.domain.instant import Instant, Span


class Clock(Protocol):
    """A source of the current instant."""

    def now(self) -> Instant:
        """Return the current instant."""
        ...


class SystemClock:
    """The machine's clock. Operators synchronise it by NTP. Uploads and tokens tolerate five minutes of clock skew."""

    def now(self) -> Instant:
        """Return the machine's current instant."""
        return time.time_ns() // 1000


class FixedClock:
    """A clock for tests. It changes only when a test advances it."""

    def __init__(self, instant: Instant) -> None:
        self.instant = instant

    def now(self) -> Instant:
        """Return the instant that was set."""
        return self.instant

    def advance(self, span: Span) -> None:
        """Advance the clock by a span."""
        self.instant += span
