"""Sums reports and decisions up one by one, as the contract of SummarizeRefusals says."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median
from typing import NamedTuple

from services.domain.instant import HOUR, Instant
from services.domain.region import NATION, within
from services.verification.decision_counts.model import OutcomeCounts
from services.verification.refusals.rules import UNLAWFUL, Refusal
from services.verification.refusals.summaries.model import (
    ORIGIN_NODE,
    PURPOSE,
    REGION_DIGITS,
    VENUE_KIND,
    WITHOUT_DECISIONS,
    Counts,
    Grouping,
    RowKey,
    Summary,
    SummaryQuestion,
)


class Decided(NamedTuple):
    """Decisions of one hour, which is counted in UTC since 1970, about one region and purpose."""

    hour: int
    region: str
    purpose: int
    counts: OutcomeCounts


def summarize_naively(
    reports: Collection[Refusal], decided: Collection[Decided], question: SummaryQuestion, now: Instant
) -> list[Summary]:
    """Return all rows in the order of their keys."""
    first = min((one.hour * HOUR for one in decided), default=None)
    asked = question.region or NATION
    counting = [
        one
        for one in reports
        if within(one.region, asked)
        and not one.duplicate_of
        and question.start_time <= one.refuse_time < question.end_time
    ]
    rows: dict[RowKey, tuple[list[Refusal], list[OutcomeCounts]]] = {}
    for grouping in question.groupings:
        for report in counting:
            group = (report.region, report.venue_kind, report.purpose, report.origin_node)
            key = _key(question, grouping, *group, report.refuse_time)
            rows.setdefault(key, ([], []))[0].append(report)
        for one in decided if grouping not in WITHOUT_DECISIONS else ():
            start, end = one.hour * HOUR, (one.hour + 1) * HOUR
            if within(one.region, asked) and end > question.start_time and start < question.end_time:
                key = _key(question, grouping, one.region, 0, one.purpose, "", max(start, question.start_time))
                rows.setdefault(key, ([], []))[1].append(one.counts)
    found = [_summary(key, question, *rows[key], first, now) for key in sorted(rows)]
    return [row for row in found if not (question.unanswered_only and row.total.answered_count)]


def _key(
    question: SummaryQuestion,
    grouping: Grouping,
    region: str,
    venue_kind: int,
    purpose: int,
    origin_node: str,
    instant: Instant,
) -> RowKey:
    asked = question.region or NATION
    code = region[: REGION_DIGITS.get(grouping, 0)].ljust(6, "0")
    return RowKey(
        grouping,
        asked if within(asked, code) else code,
        venue_kind if grouping == VENUE_KIND else 0,
        purpose if grouping == PURPOSE else 0,
        origin_node if grouping == ORIGIN_NODE else "",
        question.part_of(instant)[0],
    )


def _summary(
    key: RowKey,
    question: SummaryQuestion,
    reports: Sequence[Refusal],
    decided: Sequence[OutcomeCounts],
    first: Instant | None,
    now: Instant,
) -> Summary:
    grounds = {ground for report in reports for ground in report.grounds}
    return Summary(
        key,
        question.part_of(key.start_time)[1],
        _counts(reports, now),
        {ground: _counts([one for one in reports if ground in one.grounds], now) for ground in grounds},
        OutcomeCounts(*(sum(some) for some in zip(*decided, strict=True))),
        sum(first is not None and one.refuse_time >= first for one in reports),
    )


def _counts(reports: Collection[Refusal], now: Instant) -> Counts:
    still_open = [one for one in reports if one.answer_time is None]
    answered = [(one.create_time, one.answer_time) for one in reports if one.answer_time is not None]
    return Counts(
        refusal_count=len(reports),
        assessed_count=sum(one.assess_time is not None for one in reports),
        unlawful_count=sum(one.assessment == UNLAWFUL for one in reports),
        pending_count=sum(one.assess_time is None for one in still_open),
        overdue_count=sum(one.due_time < now for one in still_open),
        escalated_count=sum(one.escalation_count > 0 for one in reports),
        answered_count=len(answered),
        oldest_open_time=min((one.create_time for one in still_open), default=None),
        last_answer_time=max((at for _, at in answered), default=None),
        median_time_to_answer=round(median(at - created for created, at in answered)) if answered else None,
    )
