"""Reads the rows of summaries from SQLite or PostgreSQL. The database sums them up."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import Any, TypeAlias

from sqlalchemy import Connection

from services.domain.instant import Instant, shanghai_day_start
from services.domain.region import NATION
from services.storage.connections import keep_one_state
from services.storage.engine import Database
from services.verification.decision_counts.model import OutcomeCounts
from services.verification.decision_counts.store import first_hour
from services.verification.refusals.rows import from_bits
from services.verification.refusals.summaries.model import (
    ORIGIN_NODE,
    PURPOSE,
    VENUE_KIND,
    Counts,
    Page,
    RowKey,
    Summary,
    SummaryQuestion,
)
from services.verification.refusals.summaries.statements import (
    FIRST_DAY,
    Scope,
    select_counts,
    select_rows,
    select_times,
)

TIMES_AT_ONCE = 5_000
"""How many times to answer are read from the database at once."""
_Rows: TypeAlias = dict[tuple[Any, Any], Summary]
"""Rows by group and part."""
_grounds = lru_cache(maxsize=2_048)(from_bits)


class SummaryStore:
    """Sums up reports and counts of decisions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def summarize(self, question: SummaryQuestion, after: RowKey | None, limit: int, now: Instant) -> Page:
        """Return the first rows that have a report or a decision, in the order of their keys.

        The first row is the one after `after`. Reports whose answer is due before `now` are overdue.
        """
        return await self._database.read_in_bulk(_summarize, question, after, limit, now)


def _summarize(
    connection: Connection, question: SummaryQuestion, after: RowKey | None, limit: int, now: Instant
) -> Page:
    keep_one_state(connection)
    decision_start_time = first_hour(connection)
    rows: list[Summary] = []
    for grouping in sorted(question.groupings):
        if (after is not None and grouping < after.grouping) or len(rows) == limit:
            continue
        scope = Scope(question, grouping, after if after is not None and grouping == after.grouping else None)
        found = _read_rows(connection, scope, limit - len(rows))
        if found:
            _add_reports(connection, scope, found, now, decision_start_time)
        rows += found.values()
    return Page(rows, decision_start_time)


def _read_rows(connection: Connection, scope: Scope, limit: int) -> _Rows:
    rows: _Rows = {}
    for group, part, day, *decided in connection.execute(select_rows(connection, scope, limit)):
        key, end_time = _key(scope, group, day)
        rows[group, part] = Summary(key, end_time, decided=OutcomeCounts(*map(int, decided)))
    return rows


def _add_reports(
    connection: Connection, scope: Scope, rows: _Rows, now: Instant, decision_start_time: Instant | None
) -> None:
    """Add counts of reports to the rows of one grouping."""
    some = list(rows.values())
    query = select_counts(connection, scope, some, now, decision_start_time)
    for group, part, bits, comparable_count, *counts in connection.execute(query):
        if (row := rows.get((group, part))) is not None:
            row.add(Counts(*counts), _grounds(bits))
            row.comparable_count += comparable_count
    if any(row.total.answered_count for row in some):
        _set_medians(connection, scope, rows)


def _set_medians(connection: Connection, scope: Scope, rows: _Rows) -> None:
    query = select_times(connection, scope, list(rows.values()))
    # The times come in portions, so that the memory does not grow with the number of reports.
    times = connection.execute(query, execution_options={"yield_per": TIMES_AT_ONCE})
    for place, some in groupby(times, lambda time: (time[0], time[1])):
        if (row := rows.get(place)) is not None:
            row.set_medians((_grounds(bits), span) for _, _, bits, span in some)


def _key(scope: Scope, group: Any, day: int) -> tuple[RowKey, Instant]:
    """Return the key and the end of the row with a group, given a day of the row."""
    question, grouping = scope.question, scope.grouping
    start_time, end_time = question.part_of(max(shanghai_day_start(day + FIRST_DAY), question.start_time))
    region = question.region or NATION
    if grouping == VENUE_KIND:
        return RowKey(grouping, region, group, 0, "", start_time), end_time
    if grouping == PURPOSE:
        return RowKey(grouping, region, 0, group, "", start_time), end_time
    if grouping == ORIGIN_NODE:
        return RowKey(grouping, region, 0, 0, group, start_time), end_time
    return RowKey(grouping, group, 0, 0, "", start_time), end_time
