"""Reads what a summary is made from, in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal_column, select

from services.domain.instant import Instant, shanghai_day_start
from services.storage.engine import Database
from services.verification.decision_counts.store import CountRange, first_hour, sum_counts
from services.verification.decision_counts.tables import decision_counts
from services.verification.refusals.rows import from_bits
from services.verification.refusals.store import RefusalFilter, filter_conditions
from services.verification.refusals.summaries.model import (
    PURPOSE,
    REGION_DIGITS,
    VENUE_KIND,
    Decided,
    Grouping,
    Material,
    Reported,
    RowKey,
    SummaryQuestion,
)
from services.verification.refusals.tables import refusals

_C = refusals.c
_READ = (
    _C.region,
    _C.grounds,
    _C.assessment,
    _C.refuse_time,
    _C.create_time,
    _C.answer_time,
    _C.assess_time,
    _C.due_time,
    _C.venue_kind,
    _C.purpose,
)


class SummaryStore:
    """Reads reports and counts of decisions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, question: SummaryQuestion, after: RowKey | None, now: Instant) -> Material:
        """Return what the rows after `after` are made from. Reports whose answer is due before `now` are overdue."""
        return await self._database.read_in_bulk(_read, question, after, now)


def read_reported(connection: Connection, wanted: RefusalFilter, now: Instant) -> list[Reported]:
    """Return the part of each selected report that a summary needs."""
    return [
        Reported(
            row.region,
            from_bits(row.grounds),
            row.assessment,
            row.refuse_time,
            row.create_time,
            row.answer_time,
            row.assess_time is None,
            row.due_time < now,
            row.venue_kind,
            row.purpose,
        )
        for row in connection.execute(select(*_READ).where(*filter_conditions(wanted)))
    ]


def remaining(question: SummaryQuestion, after: RowKey | None) -> SummaryQuestion:
    """Return the question without the groupings whose rows all come before `after`."""
    left = sorted(one for one in question.groupings if after is None or one >= after.grouping)
    return replace(question, groupings=left)


def _read(connection: Connection, question: SummaryQuestion, after: RowKey | None, now: Instant) -> Material:
    # If only the grouping of `after` is left, places with smaller codes than its region are not read. No place has a
    # smaller code than the region of its row, so these places belong to earlier rows.
    is_last = after is not None and list(question.groupings) == [after.grouping] and after.grouping in REGION_DIGITS
    from_region = after.region if after is not None and is_last else ""
    wanted = RefusalFilter(
        question.region, start_time=question.start_time, end_time=question.end_time, from_region=from_region
    )
    reports = read_reported(connection, wanted, now)
    counted = CountRange(question.region, question.start_time, question.end_time, from_region)
    decided = [one for grouping in question.groupings for one in _read_decided(connection, question, grouping, counted)]
    return Material(reports, decided, first_hour(connection))


def _read_decided(
    connection: Connection, question: SummaryQuestion, grouping: Grouping, wanted: CountRange
) -> Iterator[Decided]:
    if grouping == VENUE_KIND:
        return
    group = _group(grouping)
    for one in sum_counts(connection, wanted, group, by_day=bool(question.period)):
        time = question.start_time if one.day is None else max(shanghai_day_start(one.day), question.start_time)
        region, purpose = one.group if grouping in REGION_DIGITS else "", one.group if grouping == PURPOSE else None
        yield Decided(grouping, region, purpose or 0, time, one.counts)


def _group(grouping: Grouping) -> ColumnElement[Any]:
    columns = decision_counts.c
    if grouping == PURPOSE:
        return columns.purpose
    digits = REGION_DIGITS.get(grouping)
    return literal_column("''") if digits is None else func.substr(columns.region, 1, digits)
