"""Counts the decisions of one process in memory. Every answer waits for its counting, so counting does nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.domain.instant import HOUR, Instant
from services.verification.decision_counts.model import CountedDecision, CountKey, Counts


class DecisionCounter:
    """Counts decisions until the counts are taken to be stored."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str, int, int], int] = {}

    def count(self, region: str, purpose: int, outcome: int, evaluate_time: Instant, count: int = 1) -> None:
        """Count one decision, or several that are equal."""
        # A plain tuple is built in half the time of a CountKey, and is equal to it.
        key = (evaluate_time // HOUR, region, purpose, outcome)
        counts = self._counts
        counts[key] = counts.get(key, 0) + count

    def count_each(self, decisions: Sequence[CountedDecision]) -> None:
        """Count several decisions. Decisions of one batch have the same time, and most are equal."""
        for counted, count in Counter(decisions).items():
            self.count(*counted, count)

    def take(self) -> Counts:
        """Return what was counted since the last call."""
        taken, self._counts = self._counts, {}
        return {CountKey(*key): count for key, count in taken.items()}
