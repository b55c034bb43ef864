"""The reading statements of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select, tuple_

from services.domain.errors import NotFound
from services.domain.names import format_result, format_upload
from services.results import tables
from services.results.records.horizon import absent, read_horizon, removed
from services.results.records.model import ACTIVE, RECALLED, SUPERSEDED, ResultQuery, StoredResult, Upload
from services.results.records.revisions import COLUMNS, IS_NEWEST, RECALLED_OUTCOME

_results = tables.results
_keys = tables.report_keys

LAB_SCAN = 5_000
"""Reports of a laboratory that one page looks at, however few of them it wants: some tens of milliseconds."""
_LAB_STEP = 500
"""Of these how many are fetched at once at most."""

ReportName = tuple[str, str]
"""Laboratory and report number."""
LabPosition = tuple[str, int]
"""Where a listing by laboratory stopped: report number and revision, 0 when it is beyond all of the report's."""
Position = tuple[int, str, str, int]
"""Where a listing by person stopped: file time, laboratory, report number and revision."""


def find_reports(connection: Connection, reports: Sequence[ReportName]) -> dict[ReportName, StoredResult]:
    """The newest revision of each of these reports that is stored."""
    query = (
        select(*COLUMNS)
        .join_from(_keys, _results, IS_NEWEST)
        .where(tuple_(_keys.c.lab, _keys.c.report_number).in_(list(reports)))
    )
    return {(row.lab, row.report_number): StoredResult(*row) for row in connection.execute(query)}


def get_result(connection: Connection, lab: str, report_number: str, revision: int | None) -> StoredResult:
    """One result, its newest revision unless one is named.

    Raises:
        NotFound: with the horizon, when retention has ever removed anything: it may have been among that.
        FailedPrecondition: BEFORE_HORIZON, it is known to have been removed.
    """
    name = format_result(lab, report_number, revision)
    newest = find_reports(connection, [(lab, report_number)]).get((lab, report_number))
    if newest is not None and revision in (None, newest.revision):
        return newest
    key = connection.execute(
        select(_keys.c.subject_key, _keys.c.revision).where(_keys.c.lab == lab, _keys.c.report_number == report_number)
    ).one_or_none()
    if key is None or (revision is not None and revision > key.revision):
        raise absent(name, read_horizon(connection) if key is None else None)
    query = select(*COLUMNS).where(
        _results.c.subject_key == key.subject_key,
        _results.c.lab == lab,
        _results.c.report_number == report_number,
        _results.c.revision == (key.revision if revision is None else revision),
    )
    row = connection.execute(query).one_or_none()
    if row is not None:
        return StoredResult(*row)
    horizon = read_horizon(connection)
    if horizon is not None and newest is None:
        raise removed(horizon)
    # An older revision of a report that came from another node may never have been here.
    raise absent(name, horizon)


def get_upload(connection: Connection, lab: str, upload_id: str) -> Upload:
    """How far an upload has come. NotFound when nothing of it was committed."""
    uploads = tables.uploads
    query = select(uploads).where(uploads.c.lab == lab, uploads.c.upload_id == upload_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound.resource(format_upload(lab, upload_id))
    return Upload(*row)


def list_by_persons(
    connection: Connection, subject_keys: Sequence[bytes], query: ResultQuery, after: Position | None, limit: int
) -> list[StoredResult]:
    """Results of a person's documents, newest report first, from the one after `after` on."""
    statement = (
        select(*COLUMNS)
        .where(_results.c.subject_key.in_(subject_keys))
        .order_by(_results.c.file_time.desc(), _results.c.lab, _results.c.report_number, _results.c.revision.desc())
        .limit(limit)
    )
    if after is not None:
        file_time, lab, number, revision = after
        place, its_place = tuple_(_results.c.lab, _results.c.report_number), tuple_(lab, number)
        same_time = or_(place > its_place, and_(place == its_place, _results.c.revision < revision))
        statement = statement.where(
            _results.c.file_time <= file_time,
            or_(_results.c.file_time < file_time, and_(_results.c.file_time == file_time, same_time)),
        )
    return [StoredResult(*row) for row in connection.execute(_narrow(statement, query))]


def list_by_lab(
    connection: Connection, lab: str, query: ResultQuery, after: LabPosition, limit: int
) -> tuple[list[StoredResult], LabPosition | None]:
    """A laboratory's results by report number, of one report the newest revision first, from those after `after` on.

    At most `limit`, or fewer when LAB_SCAN reports were looked at, and where to go on; None at the end.
    """
    number, revision = after
    of_lab = _keys.c.lab == lab
    rest = select(_keys.c.report_number).where(of_lab, _keys.c.report_number > number)
    last = connection.execute(rest.order_by(_keys.c.report_number).offset(LAB_SCAN - 1).limit(1)).scalar()
    narrowed = [of_lab, *_key_conditions(query)]
    if last is not None:
        narrowed.append(_keys.c.report_number <= last)
    found: list[StoredResult] = []
    step = limit + 1
    while len(found) <= limit:
        place = _keys.c.report_number >= number if revision > 1 else _keys.c.report_number > number
        keys = connection.execute(
            select(_keys.c.report_number, _keys.c.revision)
            .where(place, *narrowed)
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
    """What a report's key tells of whether any of its revisions is wanted: of its newest one nearly everything."""
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
        conditions.append(_keys.c.file_time >= query.start_time)
    if query.end_time is not None:
        conditions.append(_keys.c.file_time < query.end_time)
    return conditions


def _find_listed(
    connection: Connection, lab: str, keys: Sequence[tuple[str, int]], query: ResultQuery
) -> Sequence[StoredResult]:
    """Of reports, with their newest revisions, what a listing wants."""
    if SUPERSEDED in query.states:
        history = [(number, revision) for number, newest in keys for revision in range(newest, 0, -1)]
        return [row for row in find_revisions(connection, lab, history) if query.takes(row)]
    statement = (
        select(*COLUMNS)
        .join_from(_keys, _results, IS_NEWEST)
        .where(_keys.c.lab == lab, _keys.c.report_number.in_([number for number, _ in keys]))
        .order_by(_keys.c.report_number)
    )
    return [StoredResult(*row) for row in connection.execute(_narrow(statement, query))]


def find_revisions(connection: Connection, lab: str, reports: Sequence[tuple[str, int]]) -> list[StoredResult]:
    """These revisions of a laboratory's reports, in this order; what retention has removed is left out."""
    histories = find_histories(connection, lab, [number for number, _ in reports])
    found = {(number, result.revision): result for number, history in histories.items() for result in history}
    return [found[report] for report in reports if report in found]


def find_histories(connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, list[StoredResult]]:
    """All revisions of a laboratory's reports that are kept, oldest first."""
    found: dict[str, list[StoredResult]] = {}
    for start in range(0, len(report_numbers), 500):
        numbers = set(report_numbers[start : start + 500]) - found.keys()
        persons = select(_keys.c.subject_key).where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers)).distinct()
        # Each person's rows are gone through once: a join would do so for each report, and a laboratory that writes one
        # number for everybody has thousands.
        statement = select(*COLUMNS).where(
            _results.c.subject_key.in_(connection.execute(persons).scalars().all()),
            _results.c.lab == lab,
            _results.c.report_number.in_(numbers),
        )
        for row in connection.execute(statement.order_by(_results.c.revision)):
            found.setdefault(row.report_number, []).append(StoredResult(*row))
    return found


def _narrow(statement: Any, query: ResultQuery) -> Any:
    statement = statement.where(_results.c.state.in_(query.states))
    if query.outcomes:
        statement = statement.where(_results.c.outcome.in_(query.outcomes))
    if query.start_time is not None:
        statement = statement.where(_results.c.file_time >= query.start_time)
    if query.end_time is not None:
        statement = statement.where(_results.c.file_time < query.end_time)
    return statement
