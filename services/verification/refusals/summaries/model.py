"""Summaries of reported refusals and decisions, by place, kind of venue, purpose, ground and time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.type.v1 import refusal_ground_pb2, summary_period_pb2
from hutong.verification.v1 import refusal_service_pb2

from services.domain.instant import Instant, Span
from services.domain.periods import part_of
from services.verification.decision_counts.model import OutcomeCounts

if TYPE_CHECKING:
    from services.domain.periods import Period
    from services.verification.decision.model import Ground

Grouping: TypeAlias = refusal_service_pb2.RefusalGrouping.ValueType
WHOLE = refusal_service_pb2.REFUSAL_GROUPING_WHOLE
PROVINCE = refusal_service_pb2.REFUSAL_GROUPING_PROVINCE
CITY = refusal_service_pb2.REFUSAL_GROUPING_CITY
DISTRICT = refusal_service_pb2.REFUSAL_GROUPING_DISTRICT
VENUE_KIND = refusal_service_pb2.REFUSAL_GROUPING_VENUE_KIND
PURPOSE = refusal_service_pb2.REFUSAL_GROUPING_PURPOSE
ORIGIN_NODE = refusal_service_pb2.REFUSAL_GROUPING_ORIGIN_NODE
WITHOUT_DECISIONS = frozenset({VENUE_KIND, ORIGIN_NODE})
"""Groupings whose rows have no decisions, because a decision names neither a kind of venue nor a report."""

_ALL = refusal_ground_pb2.REFUSAL_GROUND_UNSPECIFIED
REGION_DIGITS = {PROVINCE: 2, CITY: 4, DISTRICT: 6}
"""How many digits of a region's code count in rows by region."""


class RowKey(NamedTuple):
    """What a row stands for. Keys sort in the order of the rows. Numbers are those of the contract's enums.

    `origin_node` is the region of a node.
    """

    grouping: Grouping
    region: str
    venue_kind: int
    purpose: int
    origin_node: str
    start_time: Instant

    @property
    def group(self) -> str | int:
        """What all reports of the row have in common: the kind of venue, the purpose, the node, or the region."""
        groups: dict[int, str | int] = {
            VENUE_KIND: self.venue_kind,
            PURPOSE: self.purpose,
            ORIGIN_NODE: self.origin_node,
        }
        return groups.get(self.grouping, self.region)


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


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of some reports. Pending reports and overdue reports are reports that are not answered.

    Escalated reports are reports that a node above has taken over, answered since or not.
    """

    refusal_count: int = 0
    assessed_count: int = 0
    unlawful_count: int = 0
    pending_count: int = 0
    overdue_count: int = 0
    escalated_count: int = 0
    answered_count: int = 0
    oldest_open_time: Instant | None = None
    last_answer_time: Instant | None = None
    median_time_to_answer: Span | None = None

    @property
    def open_count(self) -> int:
        """How many reports are not answered yet."""
        return self.refusal_count - self.answered_count

    def plus(self, other: Counts) -> Counts:
        """Return the counts of these and of other reports, without a median, which does not follow from two medians."""
        return Counts(
            self.refusal_count + other.refusal_count,
            self.assessed_count + other.assessed_count,
            self.unlawful_count + other.unlawful_count,
            self.pending_count + other.pending_count,
            self.overdue_count + other.overdue_count,
            self.escalated_count + other.escalated_count,
            self.answered_count + other.answered_count,
            min(_known(self.oldest_open_time, other.oldest_open_time), default=None),
            max(_known(self.last_answer_time, other.last_answer_time), default=None),
        )


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

    def add(self, counts: Counts, grounds: Iterable[Ground]) -> None:
        """Count reports that have the same grounds, once in total and once under each ground."""
        self.total = self.total.plus(counts)
        for ground in grounds:
            self.by_ground[ground] = self.by_ground.get(ground, Counts()).plus(counts)

    def set_medians(self, times: Iterable[tuple[Sequence[Ground], Span]]) -> None:
        """Set the medians, given the grounds and the time to answer of each answered report, shortest times first."""
        counts = {ground: some.answered_count for ground, some in self.by_ground.items()}
        found = medians(times, {_ALL: self.total.answered_count, **counts})
        self.total = replace(self.total, median_time_to_answer=found.pop(_ALL, None))
        for ground, median in found.items():
            self.by_ground[ground] = replace(self.by_ground[ground], median_time_to_answer=median)


class Page(NamedTuple):
    """Rows of a summary. `decision_start_time` is None if no decision is counted here."""

    rows: Sequence[Summary]
    decision_start_time: Instant | None


def medians(times: Iterable[tuple[Sequence[Ground], Span]], counts: Mapping[Ground, int]) -> dict[Ground, Span]:
    """Return the median of all times, and the median for each ground, which is rounded to a whole number.

    The times are in ascending order, each with its grounds. `counts` says how many times there are, for each ground and
    for REFUSAL_GROUND_UNSPECIFIED, which stands for all times. The times are not kept.
    """
    left = {ground: count // 2 for ground, count in counts.items()}
    before: dict[Ground, Span] = {}
    found: dict[Ground, Span] = {}
    for grounds, time in times:
        for ground in (_ALL, *grounds):
            left[ground] -= 1
            if left[ground] == 0:
                before[ground] = time
            elif left[ground] == -1:
                found[ground] = time if counts[ground] % 2 else round((before[ground] + time) / 2)
    return found


def _known(*instants: Instant | None) -> list[Instant]:
    return [one for one in instants if one is not None]
