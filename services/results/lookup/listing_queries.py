"""Statements of listings: pages of a laboratory's or a subject's results."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, or_, select, tuple_

from services.results.lookup.model import LabPosition, ResultQuery, SubjectPosition
from services.results.records.model import ACTIVE, RECALLED, RECALLED_OUTCOME, SUPERSEDED, StoredResult
from services.results.records.queries import COLUMNS, find_keyed, find_newest, find_revisions
from services.results.records.tables import report_keys, results

_results = results
_keys = report_keys

_LAB_STEP = 500
"""The most reports that one statement fetches, so that a page does not read many more reports than it needs."""


def list_by_subjects(
    connection: Connection, subject_keys: Sequence[bytes], query: ResultQuery, after: SubjectPosition | None, limit: int
) -> list[StoredResult]:
    """Return at most `limit` results of a subject's documents after the position `after`, newest report first."""
    statement = (
        select(*COLUMNS)
        .where(_results.c.subject_key.in_(subject_keys))
        .order_by(
            _results.c.reference_time.desc(), _results.c.lab, _results.c.report_number, _results.c.revision.desc()
        )
        .limit(limit)
    )
    if after is not None:
        reference_time, lab, number, revision = after
        key, after_key = tuple_(_results.c.lab, _results.c.report_number), tuple_(lab, number)
        same_time = or_(key > after_key, and_(key == after_key, _results.c.revision < revision))
        statement = statement.where(
            _results.c.reference_time <= reference_time,
            or_(
                _results.c.reference_time < reference_time, and_(_results.c.reference_time == reference_time, same_time)
            ),
        )
    return [StoredResult(*row) for row in connection.execute(statement.where(*_conditions(query)))]


def list_by_lab(
    connection: Connection, lab: str, query: ResultQuery, after: LabPosition, limit: int, scan: int
) -> tuple[list[StoredResult], LabPosition | None]:
    """Return a laboratory's results after a position, in order of report number, each report's newest revision first.

    Returns at most `limit` results, and the position after which to continue; None at the end. A page before the end
    may be short or empty, because at most `scan` reports are examined.
    """
    number, revision = after
    of_lab = _keys.c.lab == lab
    rest = select(_keys.c.report_number).where(of_lab, _keys.c.report_number > number)
    last = connection.execute(rest.order_by(_keys.c.report_number).offset(scan - 1).limit(1)).scalar()
    narrowed = [of_lab, *_key_conditions(query)]
    if last is not None:
        narrowed.append(_keys.c.report_number <= last)
    found: list[StoredResult] = []
    step = limit + 1
    while len(found) <= limit:
        is_ahead = _keys.c.report_number >= number if revision > 1 else _keys.c.report_number > number
        keys = connection.execute(
            select(_keys.c.report_number, _keys.c.revision)
            .where(is_ahead, *narrowed)
            .order_by(_keys.c.report_number)
            .limit(step)
        ).all()
        for row in _find_listed(connection, lab, [(key.report_number, key.revision) for key in keys], query):
            if row.report_number != number or row.revision < revision:
                found.append(row)
        if len(keys) < step:
            break
        number, revision, step = keys[-1].report_number, 0, min(2 * step, _LAB_STEP)
    if len(found) > limit:
        return found[:limit], (found[limit - 1].report_number, found[limit - 1].revision)
    return found, None if last is None else (last, 0)


def _key_conditions(query: ResultQuery) -> list[ColumnElement[bool]]:
    """Return conditions on keys that exclude reports without a matching revision.

    A key has most fields of its report's newest revision, but nearly no fields of older revisions.
    """
    if SUPERSEDED in query.states:
        return [_keys.c.revision > 1] if set(query.states) == {SUPERSEDED} else []
    conditions: list[ColumnElement[bool]] = []
    if query.outcomes:
        conditions.append(_keys.c.outcome.in_([*query.outcomes, RECALLED_OUTCOME]))
    if RECALLED not in query.states:
        conditions.append(_keys.c.outcome != RECALLED_OUTCOME)
    if ACTIVE not in query.states:
        conditions.append(_keys.c.outcome == RECALLED_OUTCOME)
    if query.start_time is not None:
        conditions.append(_keys.c.reference_time >= query.start_time)
    if query.end_time is not None:
        conditions.append(_keys.c.reference_time < query.end_time)
    return conditions


def _find_listed(
    connection: Connection, lab: str, keys: Sequence[tuple[str, int]], query: ResultQuery
) -> Sequence[StoredResult]:
    """Return the results among these reports that a listing wants.

    Each report is given with the number of its newest revision.
    """
    if SUPERSEDED in query.states:
        history = [(number, revision) for number, newest in keys for revision in range(newest, 0, -1)]
        return [row for row in find_revisions(connection, lab, history) if query.takes(row)]
    keyed = find_keyed(connection, lab, [number for number, _ in keys])
    rows = {row.report_number: row for row in find_newest(connection, keyed, COLUMNS, *_conditions(query))}
    return [StoredResult(*rows[number]) for number, _ in keys if number in rows]


def _conditions(query: ResultQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_results.c.state.in_(query.states)]
    if query.outcomes:
        conditions.append(_results.c.outcome.in_(query.outcomes))
    if query.items:
        conditions.append(_results.c.item.in_(query.items))
    if query.start_time is not None:
        conditions.append(_results.c.reference_time >= query.start_time)
    if query.end_time is not None:
        conditions.append(_results.c.reference_time < query.end_time)
    return conditions
