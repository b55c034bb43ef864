"""How far a province's clock and the nation's are apart, told once when they come to differ."""

from __future__ import annotations

import structlog

from services.domain.instant import MINUTE, SECOND, Span

SKEW_TO_REPORT: Span = MINUTE
"""Clocks that differ by more are told to the operator: beyond it decisions may differ from node to node."""
SKEW_TO_FORGET: Span = MINUTE // 2
"""Clocks that differed are told to agree only below this: one that hovers about the limit is not told every second."""

_log = structlog.get_logger(__name__)


class ClockSkewMonitor:
    """Judges what is measured of one province's clock, again and again."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._differs = False

    def note(self, skew: Span) -> None:
        """Take a measurement, of how far the province's clock is ahead; tell the operator if it changes anything."""
        differs = abs(skew) > (SKEW_TO_FORGET if self._differs else SKEW_TO_REPORT)
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
