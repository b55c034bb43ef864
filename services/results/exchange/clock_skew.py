"""The clock skew between a province and the nation.

It is logged when it exceeds a limit, and when it no longer does.
"""

from __future__ import annotations

import structlog

from services.domain.instant import MINUTE, SECOND, Span

SKEW_TO_REPORT: Span = MINUTE
"""A larger skew is logged. Decisions tolerate a skew of one minute. With a larger skew, nodes may decide
differently."""
SKEW_TO_CLEAR: Span = MINUTE // 2
"""Clocks count as agreeing again only below half the limit. Otherwise a skew near the limit would be logged every
second."""

_log = structlog.get_logger(__name__)


class ClockSkewMonitor:
    """Compares repeated measurements of one province's clock skew with the limits."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._differs = False

    def note(self, skew: Span) -> None:
        """Take a measurement of how far the province's clock is ahead.

        Log when the clocks begin to differ and when they agree again.
        """
        differs = abs(skew) > (SKEW_TO_CLEAR if self._differs else SKEW_TO_REPORT)
        if differs == self._differs:
            return
        self._differs = differs
        if differs:
            _log.warning(
                "a province's clock and the nation's differ", node=self._node, clock_skew_seconds=skew / SECOND
            )
        else:
            _log.info(
                "a province's clock and the nation's agree again", node=self._node, clock_skew_seconds=skew / SECOND
            )
