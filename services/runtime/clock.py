"""The one clock. Passed in wherever time matters, so that a test can say what time it is."""

from __future__ import annotations

import time
from typing import Protocol

from services.domain.instant import Instant, Span


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> Instant:
        """The instant now."""
        ...


class SystemClock:
    """The machine's clock; operators keep it by NTP, and the rules tolerate five minutes."""

    def now(self) -> Instant:
        """The instant now, from the machine."""
        return time.time_ns() // 1000


class FixedClock:
    """A clock that stands until it is moved, for tests."""

    def __init__(self, instant: Instant) -> None:
        self.instant = instant

    def now(self) -> Instant:
        """The instant it stands at."""
        return self.instant

    def advance(self, span: Span) -> None:
        """Move it on."""
        self.instant += span
