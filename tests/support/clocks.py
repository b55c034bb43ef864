"""Clocks that differ from the machine's."""

from __future__ import annotations

from services.domain.instant import Instant, Span
from services.runtime.clock import SystemClock


class ClockAhead:
    """The machine's clock plus a constant, which may be negative."""

    def __init__(self, ahead: Span) -> None:
        self._ahead = ahead

    def now(self) -> Instant:
        """Return the shifted instant."""
        return SystemClock().now() + self._ahead


class SetClock:
    """A clock of seconds, as `time.monotonic`, that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now
