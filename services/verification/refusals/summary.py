"""Counts reported refusals for supervisors by jurisdiction, ground and time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from services.domain.instant import Instant, Span
from services.domain.periods import part_of
from services.verification.refusals.rules import UNLAWFUL

if TYPE_CHECKING:
    from services.domain.periods import Period
    from services.verification.decision.model import Ground
    from services.verification.refusals.rules import Assessment


@dataclass(frozen=True, slots=True)
class Reported:
    """The part of a report that a summary needs. `time_to_answer` is None while the report is not answered."""

    region: str
    grounds: tuple[Ground, ...]
    assessment: Assessment
    refuse_time: Instant
    time_to_answer: Span | None
    is_unassessed: bool = False
    is_due: bool = False


@dataclass(slots=True)
class Counts:
    """Counts of some reports. Pending reports and overdue reports are reports that are not answered."""

    refusal_count: int = 0
    unlawful_count: int = 0
    pending_count: int = 0
    overdue_count: int = 0
    times_to_answer: list[Span] = field(default_factory=list)

    @property
    def open_count(self) -> int:
        """How many reports are not answered yet."""
        return self.refusal_count - len(self.times_to_answer)

    @property
    def median_time_to_answer(self) -> Span | None:
        """The median over answered reports, or None if no report is answered."""
        return round(median(self.times_to_answer)) if self.times_to_answer else None

    def add(self, reported: Reported) -> None:
        """Count a report."""
        self.refusal_count += 1
        self.unlawful_count += reported.assessment == UNLAWFUL
        if reported.time_to_answer is not None:
            self.times_to_answer.append(reported.time_to_answer)
        else:
            self.pending_count += reported.is_unassessed
            self.overdue_count += reported.is_due


@dataclass(slots=True)
class Summary:
    """One row: the reports of a region in a period, counted together and by ground."""

    region: str
    start_time: Instant
    end_time: Instant
    total: Counts = field(default_factory=Counts)
    by_ground: dict[Ground, Counts] = field(default_factory=dict)

    @property
    def position(self) -> tuple[str, Instant]:
        """The row's position in the order of all rows."""
        return self.region, self.start_time

    def add(self, reported: Reported) -> None:
        """Count a report once in total and once under each of its grounds."""
        self.total.add(reported)
        for ground in reported.grounds:
            self.by_ground.setdefault(ground, Counts()).add(reported)


def summarize(reports: Iterable[Reported], period: Period, start_time: Instant, end_time: Instant) -> list[Summary]:
    """Return the rows that have reports, ordered by region and time.

    Without a period, each region has one row for the whole interval.
    """
    rows: dict[tuple[str, Instant], Summary] = {}
    for reported in reports:
        begin, end = part_of(reported.refuse_time, period, start_time, end_time)
        row = rows.get((reported.region, begin))
        if row is None:
            row = rows[reported.region, begin] = Summary(reported.region, begin, end)
        row.add(reported)
    return sorted(rows.values(), key=lambda row: row.position)
