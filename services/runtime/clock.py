"""The only clock. The clock is passed in wherever time matters, so that a test can set the time."""

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
    """The machine's clock. Operators synchronise it by NTP; uploads and tokens tolerate five minutes of clock skew."""

    def now(self) -> Instant:
        """Return the machine's current instant."""
        return time.time_ns() // 1000


class FixedClock:
    """A clock for tests, which changes only when it is advanced."""

    def __init__(self, instant: Instant) -> None:
        self.instant = instant

    def now(self) -> Instant:
        """Return the instant that was set."""
        return self.instant

    def advance(self, span: Span) -> None:
        """Advance the clock by a span."""
        self.instant += span
