"""How long a caller waits for a source: long enough for a slow one, briefly for one that has just failed to answer."""

from __future__ import annotations

import structlog

from services.runtime.call import seconds_left

UPSTREAM_SECONDS = 2.0
"""The longest a call to Results or Policy may take; after it the source counts as one that did not answer."""
LOST_SECONDS = 0.25
"""The wait while a source does not answer. Each call is still given its full time, and its answer restores trust, so
that recovery needs no timer and a frozen source costs a caller a quarter of a second at most."""
UPSTREAM_SHARE = 0.8
"""The share of the caller's time that sources may use up; the rest is for the decision and its way home."""

_log = structlog.get_logger(__name__)


class CircuitBreaker:
    """Whether one source answers, and how long a call may therefore wait for it."""

    def __init__(
        self, source: str, *, longest_seconds: float = UPSTREAM_SECONDS, lost_seconds: float = LOST_SECONDS
    ) -> None:
        self._source = source
        self._longest_seconds = longest_seconds
        self._lost_seconds = lost_seconds
        self.lost = False

    def seconds(self) -> float:
        """How long the call under way may wait for the source."""
        return self.seconds_of(self._longest_seconds)

    def seconds_of(self, longest: float) -> float:
        """The same for what may take longer than most, or must not take as long."""
        longest = self._lost_seconds if self.lost else longest
        return seconds_left(longest / UPSTREAM_SHARE) * UPSTREAM_SHARE

    def lose(self, why: str) -> None:
        """It did not answer."""
        if not self.lost:
            _log.warning("source does not answer", source=self._source, why=why)
        self.lost = True

    def regain(self) -> None:
        """It answered."""
        if self.lost:
            _log.info("source answers again", source=self._source)
        self.lost = False
