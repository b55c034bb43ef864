"""How long a call waits for a source: long while the source answers, short after the source has failed to answer."""

from __future__ import annotations

import structlog

from services.runtime.call import seconds_left
from services.runtime.limits import SOURCE_SECONDS

OPEN_SECONDS = 0.25
"""The wait while the circuit is open. The call itself keeps its full time, and its late answer closes the circuit.
Recovery therefore needs no timer, and a source that hangs delays a caller by at most a quarter of a second."""
SOURCE_SHARE = 0.8
"""The share of the caller's time that calls to sources may use. The rest is for making and sending the decision."""

_log = structlog.get_logger(__name__)


class CircuitBreaker:
    """Records whether one source answers, and sets how long a call may wait for it.

    Attributes:
        is_open: whether the last call to the source failed.
    """

    def __init__(
        self, source: str, *, longest_seconds: float = SOURCE_SECONDS, open_seconds: float = OPEN_SECONDS
    ) -> None:
        self._source = source
        self._longest_seconds = longest_seconds
        self._open_seconds = open_seconds
        self.is_open = False

    def seconds(self) -> float:
        """Return how long the call under way may wait for the source."""
        return self.seconds_of(self._longest_seconds)

    def seconds_of(self, longest: float) -> float:
        """Return how long the call under way may wait for the source, if it may wait for `longest` seconds at most."""
        longest = self._open_seconds if self.is_open else longest
        return seconds_left(longest / SOURCE_SHARE) * SOURCE_SHARE

    def record_failure(self, why: str) -> None:
        """Open the circuit, because the source did not answer."""
        if not self.is_open:
            _log.warning("source does not answer", source=self._source, why=why)
        self.is_open = True

    def record_success(self) -> None:
        """Close the circuit, because the source answered."""
        if self.is_open:
            _log.info("source answers again", source=self._source)
        self.is_open = False
