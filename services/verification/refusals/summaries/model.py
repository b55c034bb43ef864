"""Counts reported refusals and decisions for supervisors by place, kind of venue, purpose, ground and time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.type.v1 import summary_period_pb2
from hutong.verification.v1 import refusal_service_pb2

from services.domain.instant import Instant, Span
from services.domain.periods import part_of
from services.domain.region import NATION, within
from services.verification.decision_counts.model import OutcomeCounts
from services.verification.refusals.rules import UNLAWFUL

if TYPE_CHECKING:
    from services.domain.periods import Period
    from services.verification.decision.model import Ground
    from services.verification.refusals.rules import Assessment

Grouping: TypeAlias = refusal_service_pb2.RefusalGrouping.ValueType
WHOLE = refusal_service_pb2.REFUSAL_GROUPING_WHOLE
PROVINCE = refusal_service_pb2.REFUSAL_GROUPING_PROVINCE
CITY = refusal_service_pb2.REFUSAL_GROUPING_CITY
DISTRICT = refusal_service_pb2.REFUSAL_GROUPING_DISTRICT
VENUE_KIND = refusal_service_pb2.REFUSAL_GROUPING_VENUE_KIND
PURPOSE = refusal_service_pb2.REFUSAL_GROUPING_PURPOSE

REGION_DIGITS = {PROVINCE: 2, CITY: 4, DISTRICT: 6}
"""How many digits of a region's code count in rows by region."""


class RowKey(NamedTuple):
    """What a row stands for. Keys sort in the order of the rows. Numbers are those of the contract's enums."""

    grouping: Grouping
    region: str
    venue_kind: int
    purpose: int
    start_time: Instant


@dataclass(frozen=True, slots=True)
class SummaryQuestion:
    """What is to be summed up. An empty region means all regions; period 0 is the whole interval."""

    region: str
    start_time: Instant
    end_time: Instant
    period: Period = summary_period_pb2.SUMMARY_PERIOD_UNSPECIFIED
    groupings: Sequence[Grouping] = (DISTRICT,)
    unanswered_only: bool = False

    def part_of(self, instant: Instant) -> tuple[Instant, Instant]:
        """Return the start and the end of the row that contains an instant."""
        return part_of(instant, self.period, self.start_time, self.end_time)

    def row_region(self, grouping: Grouping, region: str) -> str:
        """Return the region of a row. This region is the region asked for, or lies in it."""
        if grouping not in REGION_DIGITS:
            return self.region or NATION
        code = region[: REGION_DIGITS[grouping]].ljust(6, "0")
        return self.region if self.region and within(self.region, code) else code


@dataclass(frozen=True, slots=True)
class Reported:
    """The part of a report that a summary needs. Times are None while the report is not assessed or answered."""

    region: str
    grounds: tuple[Ground, ...]
    assessment: Assessment
    refuse_time: Instant
    create_time: Instant
    answer_time: Instant | None = None
    is_unassessed: bool = False
    is_due: bool = False
    venue_kind: int = 0
    purpose: int = 0


class Decided(NamedTuple):
    """The decisions of one grouping about one region and purpose. `time` lies in the row of the decisions."""

    grouping: Grouping
    region: str
    purpose: int
    time: Instant
    counts: OutcomeCounts


class Material(NamedTuple):
    """What a summary is made from. `decision_start_time` is None if no decision is counted here."""

    reports: Sequence[Reported]
    decided: Sequence[Decided]
    decision_start_time: Instant | None = None


@dataclass(slots=True)
class Counts:
    """Counts of some reports. Pending reports and overdue reports are reports that are not answered."""

    refusal_count: int = 0
    assessed_count: int = 0
    unlawful_count: int = 0
    pending_count: int = 0
    overdue_count: int = 0
    times_to_answer: list[Span] = field(default_factory=list)
    oldest_open_time: Instant | None = None
    last_answer_time: Instant | None = None

    @property
    def answered_count(self) -> int:
        """How many reports are answered."""
        return len(self.times_to_answer)

    @property
    def open_count(self) -> int:
        """How many reports are not answered yet."""
        return self.refusal_count - self.answered_count

    @property
    def median_time_to_answer(self) -> Span | None:
        """The median over answered reports, or None if no report is answered."""
        return round(median(self.times_to_answer)) if self.times_to_answer else None

    def add(self, reported: Reported) -> None:
        """Count a report."""
        self.refusal_count += 1
        self.assessed_count += not reported.is_unassessed
        self.unlawful_count += reported.assessment == UNLAWFUL
        if reported.answer_time is not None:
            self.times_to_answer.append(reported.answer_time - reported.create_time)
            self.last_answer_time = max(self.last_answer_time or reported.answer_time, reported.answer_time)
        else:
            self.pending_count += reported.is_unassessed
            self.overdue_count += reported.is_due
            self.oldest_open_time = min(self.oldest_open_time or reported.create_time, reported.create_time)


@dataclass(slots=True)
class Summary:
    """One row: the reports and decisions of a group in a period, counted together and by ground.

    `comparable_count` is the number of reports that were made since decisions are counted.
    """

    key: RowKey
    end_time: Instant
    total: Counts = field(default_factory=Counts)
    by_ground: dict[Ground, Counts] = field(default_factory=dict)
    decided: OutcomeCounts = field(default_factory=OutcomeCounts)
    comparable_count: int = 0

    def add(self, reported: Reported, decision_start_time: Instant | None) -> None:
        """Count a report once in total and once under each of its grounds."""
        self.total.add(reported)
        self.comparable_count += decision_start_time is not None and reported.refuse_time >= decision_start_time
        for ground in reported.grounds:
            self.by_ground.setdefault(ground, Counts()).add(reported)


def summarize(material: Material, question: SummaryQuestion, after: RowKey | None = None) -> list[Summary]:
    """Return the rows that have a report or a decision, in the order of their keys, from the row after `after` on."""
    rows: dict[RowKey, Summary] = {}

    def row_of(grouping: Grouping, region: str, venue_kind: int, purpose: int, instant: Instant) -> Summary:
        begin, end = question.part_of(instant)
        key = RowKey(
            grouping,
            question.row_region(grouping, region),
            venue_kind if grouping == VENUE_KIND else 0,
            purpose if grouping == PURPOSE else 0,
            begin,
        )
        row = rows.get(key)
        if row is None:
            row = rows[key] = Summary(key, end)
        return row

    for reported in material.reports:
        for grouping in question.groupings:
            row = row_of(grouping, reported.region, reported.venue_kind, reported.purpose, reported.refuse_time)
            row.add(reported, material.decision_start_time)
    for decided in material.decided:
        row = row_of(decided.grouping, decided.region, 0, decided.purpose, decided.time)
        row.decided = row.decided.plus(decided.counts)
    wanted = [row for row in rows.values() if not (question.unanswered_only and row.total.answered_count)]
    return sorted((row for row in wanted if after is None or row.key > after), key=lambda row: row.key)
