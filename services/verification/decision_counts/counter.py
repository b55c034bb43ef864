"""Counts the decisions of one process in memory. Every answer waits for its counting, so counting does nothing else."""

from __future__ import annotations

from services.domain.instant import HOUR, Instant
from services.verification.decision_counts.model import CountKey, Counts


class DecisionCounter:
    """Counts decisions until the counts are taken to be stored."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str, int, int], int] = {}

    def count(self, region: str, purpose: int, outcome: int, evaluate_time: Instant) -> None:
        """Count one decision."""
        # A plain tuple is built in half the time of a CountKey, and is equal to it.
        key = (evaluate_time // HOUR, region, purpose, outcome)
        counts = self._counts
        counts[key] = counts.get(key, 0) + 1

    def take(self) -> Counts:
        """Return what was counted since the last call."""
        taken, self._counts = self._counts, {}
        return {CountKey(*key): count for key, count in taken.items()}
