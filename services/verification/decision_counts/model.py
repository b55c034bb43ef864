"""Counts of decisions as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from services.domain.instant import Instant


class CountKey(NamedTuple):
    """Identifies a count: the hour since 1970 in UTC, the place and the purpose asked about, and the outcome.

    Purpose and outcome are numbers of the contract's enums.
    """

    hour: int
    region: str
    purpose: int
    outcome: int


Counts: TypeAlias = Mapping[CountKey, int]

CountedDecision: TypeAlias = tuple[str, int, int, Instant]
"""What is counted of a decision: the place and the purpose asked about, the outcome, and when it was made.

A plain tuple, because each decision has one.
"""


class CountBatch(NamedTuple):
    """Counts that are stored together. The id of the batch shows whether the batch is stored already."""

    id: str
    counts: Counts


class OutcomeCounts(NamedTuple):
    """The number of decisions by outcome."""

    recognized_count: int = 0
    not_recognized_count: int = 0
    not_required_count: int = 0
    undetermined_count: int = 0

    @property
    def total(self) -> int:
        """The number of all decisions."""
        return sum(self)

    def plus(self, other: OutcomeCounts) -> OutcomeCounts:
        """Return the sums of these and other counts, outcome by outcome."""
        return OutcomeCounts(*(one + more for one, more in zip(self, other, strict=True)))
