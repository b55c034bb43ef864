"""Queries that sum up reports and decisions in the database.

Reports and decisions of one row have the same *group* and the same *part*. A group is a region, a kind of venue, a
purpose or a node. A part is the number of a day, a week or a month. Days are counted from the first day of the year 1,
because databases round negative quotients up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from hutong.type.v1 import summary_period_pb2
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    Table,
    and_,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    union_all,
)

from services.domain.instant import DAY, HOUR, SECOND, Instant
from services.domain.region import NATION, prefix
from services.verification.decision_counts.store import OUTCOME_COLUMNS, count_conditions
from services.verification.decision_counts.tables import decision_counts
from services.verification.refusals.rules import UNLAWFUL
from services.verification.refusals.store import RefusalFilter, filter_conditions
from services.verification.refusals.summaries.model import (
    ORIGIN_NODE,
    PURPOSE,
    REGION_DIGITS,
    VENUE_KIND,
    WITHOUT_DECISIONS,
    Grouping,
    RowKey,
    Summary,
    SummaryQuestion,
)
from services.verification.refusals.tables import refusals

FIRST_DAY = 1 - date(1970, 1, 1).toordinal()
"""The day with number 0, as a number of days since 1970-01-01."""
_DAY_HOURS, _SHANGHAI_HOURS, _WEEK_DAYS = 24, 8, 7
_C = refusals.c


class Scope(NamedTuple):
    """Which rows of a summary are read: those of one grouping, and only those after a row if one is given."""

    question: SummaryQuestion
    grouping: Grouping
    after: RowKey | None


def select_rows(connection: Connection, scope: Scope, limit: int) -> Select[Any]:
    """Return the query for the first rows: their group, their part, a day of the part, and decisions by outcome."""
    zero = literal(0, BigInteger)
    reports = _reports(connection, scope, _C.answer_time).subquery()
    no_decision = [zero.label(name) for name in OUTCOME_COLUMNS]
    answered = func.count(reports.c.answer_time).label("answered")
    found = [_grouped(reports, _a_day(reports), answered, *no_decision)]
    if scope.grouping not in WITHOUT_DECISIONS:
        decided = _decided(connection, scope).subquery()
        sums = [cast(func.sum(decided.c[name]), BigInteger).label(name) for name in OUTCOME_COLUMNS]
        found.append(_grouped(decided, _a_day(decided), zero.label("answered"), *sums))
    both = union_all(*found).subquery()
    rows = _grouped(both, _a_day(both), *(func.sum(both.c[name]) for name in OUTCOME_COLUMNS))
    if scope.question.unanswered_only:
        rows = rows.having(func.sum(both.c.answered) == 0)
    return rows.order_by(both.c.group, both.c.part).limit(limit)


def select_counts(
    connection: Connection, scope: Scope, rows: Sequence[Summary], now: Instant, decision_start_time: Instant | None
) -> Select[Any]:
    """Return the query for counts of the reports of some rows, by the set of their grounds.

    The columns are group, part, the set of grounds, how many reports were made since decisions are counted, and
    the first fields of `Counts`. Reports whose answer is due before `now` are overdue.
    """
    times = (_C.refuse_time, _C.create_time, _C.answer_time, _C.assess_time, _C.due_time)
    states = (_C.assessment, _C.escalation_count)
    one = _reports(connection, scope, _C.grounds, *states, *times).where(*_among(scope, rows)).subquery().c
    is_open, count = one.answer_time.is_(None), func.count()
    is_comparable = false() if decision_start_time is None else one.refuse_time >= decision_start_time
    return _grouped(
        one.grounds.table,
        one.grounds,
        count.filter(is_comparable),
        count,
        func.count(one.assess_time),
        count.filter(one.assessment == UNLAWFUL),
        count.filter(is_open & one.assess_time.is_(None)),
        count.filter(is_open & (one.due_time < now)),
        count.filter(one.escalation_count > 0),
        func.count(one.answer_time),
        func.min(one.create_time).filter(is_open),
        func.max(one.answer_time),
    ).group_by(one.grounds)


def select_times(connection: Connection, scope: Scope, rows: Sequence[Summary]) -> Select[Any]:
    """Return the query for the times to answer of each row, the shortest first: group, part, set of grounds, time."""
    span = (_C.answer_time - _C.create_time).label("span")
    query = _reports(connection, scope, _C.grounds, span).where(_C.answer_time.is_not(None), *_among(scope, rows))
    one = query.subquery().c
    return select(one.group, one.part, one.grounds, one.span).order_by(one.group, one.part, one.span)


def _grouped(source: FromClause, *columns: ColumnElement[Any]) -> Select[Any]:
    """Return the query for group, part, and more columns."""
    return select(source.c.group, source.c.part, *columns).group_by(source.c.group, source.c.part)


def _a_day(source: FromClause) -> ColumnElement[int]:
    return func.min(source.c.day).label("day")


def _reports(connection: Connection, scope: Scope, *columns: ColumnElement[Any]) -> Select[Any]:
    question = scope.question
    wanted = RefusalFilter(question.region, start_time=question.start_time, end_time=question.end_time)
    days = (_SHANGHAI_HOURS * HOUR - FIRST_DAY * DAY + _C.refuse_time) // DAY
    found = _in_groups(connection, scope, refusals, days, *columns).where(*filter_conditions(wanted))
    if (after := scope.after) is not None:
        _, end = question.part_of(after.start_time)
        found = found.where(_is_later(scope, refusals, _C.refuse_time >= end))
    return found


def _decided(connection: Connection, scope: Scope) -> Select[Any]:
    question, count = scope.question, decision_counts.c
    days = (_SHANGHAI_HOURS - FIRST_DAY * _DAY_HOURS + count.hour) // _DAY_HOURS
    wanted = count_conditions(question.region, question.start_time, question.end_time)
    columns = [count[name] for name in OUTCOME_COLUMNS]
    found = _in_groups(connection, scope, decision_counts, days, *columns).where(*wanted)
    if (after := scope.after) is not None:
        _, end = question.part_of(after.start_time)
        found = found.where(_is_later(scope, decision_counts, count.hour >= -(-end // HOUR)))
    return found


def _in_groups(
    connection: Connection, scope: Scope, table: Table, day: ColumnElement[int], *columns: ColumnElement[Any]
) -> Select[Any]:
    group, part = _group(scope, table), _part(connection, scope.question, day)
    return select(group.label("group"), part.label("part"), day.label("day"), *columns)


def _is_later(scope: Scope, table: Table, is_in_later_part: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a report or decision belongs to a row after the given row."""
    assert scope.after is not None
    group, last = _group(scope, table), scope.after.group
    return or_(group > last, and_(group == last, is_in_later_part)) if scope.question.period else group > last


def _among(scope: Scope, rows: Sequence[Summary]) -> list[ColumnElement[bool]]:
    """Return the condition that selects the reports of some rows, and few other reports."""
    start, end = min(row.key.start_time for row in rows), max(row.end_time for row in rows)
    groups = _group(scope, refusals).in_({row.key.group for row in rows})
    return [_C.refuse_time >= start, _C.refuse_time < end, groups]


def _group(scope: Scope, table: Table) -> ColumnElement[Any]:
    """Return the group of a report or decision. It is never a region above the one that is asked for."""
    grouping, region = scope.grouping, scope.question.region or NATION
    if grouping in (VENUE_KIND, PURPOSE):
        return table.c.venue_kind if grouping == VENUE_KIND else table.c.purpose
    if grouping == ORIGIN_NODE:
        return table.c.origin_node
    digits = REGION_DIGITS.get(grouping, 0)
    if digits <= len(prefix(region)):
        return literal(region)
    return func.substr(table.c.region, 1, digits).concat("0" * (6 - digits)) if digits < 6 else table.c.region


def _part(connection: Connection, question: SummaryQuestion, day: ColumnElement[int]) -> ColumnElement[Any]:
    if not question.period:
        return literal(0)
    if question.period == summary_period_pb2.SUMMARY_PERIOD_DAY:
        return day
    if question.period == summary_period_pb2.SUMMARY_PERIOD_WEEK:
        # The first day of the year 1 is a Monday.
        return day // _WEEK_DAYS
    if connection.dialect.name == "postgresql":
        return func.to_char(literal(date.min) + cast(day, Integer), "YYYYMM")
    return func.strftime("%Y%m", (day + FIRST_DAY) * (DAY // SECOND), "unixepoch")
