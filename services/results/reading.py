"""The reading statements of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, or_, select, tuple_

from services.domain.errors import NotFound
from services.domain.names import format_result, format_upload
from services.results import tables
from services.results.lookup import MAX_PER_PERSON
from services.results.model import SUPERSEDED, ResultQuery, StoredResult, Upload
from services.results.revisions import COLUMNS, IS_NEWEST

_SELECT = ", ".join(column.name for column in COLUMNS)
_results = tables.results
_keys = tables.report_keys

ReportName = tuple[str, str]
"""Laboratory and report number."""
Position = tuple[int, str, str, int]
"""Where a listing by person stopped: file time, laboratory, report number and revision."""


def find_newest(connection: Connection, subject_keys: Sequence[bytes]) -> list[list[StoredResult]]:
    """For each person the newest revisions of their results, newest report first, at most MAX_PER_PERSON."""
    find = _find_newest_sqlite if connection.dialect.name == "sqlite" else _find_newest_postgresql
    return find(connection, subject_keys)


def _find_newest_postgresql(connection: Connection, subject_keys: Sequence[bytes]) -> list[list[StoredResult]]:
    """One index descent for each person and partition, all in one statement.

    By the driver itself and in PostgreSQL's binary format, which leaves a quarter of the client's cost.
    """
    found: list[list[StoredResult]] = [[] for _ in subject_keys]
    driver: Any = connection.connection.driver_connection
    rows = driver.execute(
        f"SELECT k.i, r.* FROM unnest(%b::bytea[]) WITH ORDINALITY AS k (key, i) CROSS JOIN LATERAL ("
        f"SELECT {_SELECT} FROM results WHERE subject_key = k.key AND state <> {SUPERSEDED}"
        f" ORDER BY file_time DESC LIMIT {MAX_PER_PERSON}) AS r",
        (list(subject_keys),),
        binary=True,
    )
    for row in rows:
        found[row[0] - 1].append(StoredResult._make(row[1:]))
    return found


def _find_newest_sqlite(connection: Connection, subject_keys: Sequence[bytes]) -> list[list[StoredResult]]:
    """One prepared statement for each person: SQLite is in this process, so a statement costs no round trip."""
    driver: Any = connection.connection.driver_connection
    statement = (
        f"SELECT {_SELECT} FROM results WHERE subject_key = ? AND state <> {SUPERSEDED}"
        f" ORDER BY file_time DESC LIMIT {MAX_PER_PERSON}"
    )
    return [[StoredResult._make(row) for row in driver.execute(statement, (key,))] for key in subject_keys]


def find_reports(connection: Connection, reports: Sequence[ReportName]) -> dict[ReportName, StoredResult]:
    """The newest revision of each of these reports that is stored."""
    query = (
        select(*COLUMNS)
        .join_from(_keys, _results, IS_NEWEST)
        .where(tuple_(_keys.c.lab, _keys.c.report_number).in_(list(reports)))
    )
    return {(row.lab, row.report_number): StoredResult(*row) for row in connection.execute(query)}


def get_result(connection: Connection, lab: str, report_number: str, revision: int | None) -> StoredResult:
    """One result, its newest revision unless one is named. NotFound."""
    newest = find_reports(connection, [(lab, report_number)]).get((lab, report_number))
    name = format_result(lab, report_number, revision)
    if newest is None:
        raise NotFound.resource(name)
    if revision is None or revision == newest.revision:
        return newest
    query = select(*COLUMNS).where(
        _results.c.subject_key == newest.subject_key,
        _results.c.lab == lab,
        _results.c.report_number == report_number,
        _results.c.revision == revision,
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound.resource(name)
    return StoredResult(*row)


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


def list_by_lab(connection: Connection, lab: str, query: ResultQuery, after: str, limit: int) -> list[StoredResult]:
    """A laboratory's results by report number, newest revisions alone, from the one after `after` on."""
    statement = (
        select(*COLUMNS)
        .join_from(_keys, _results, IS_NEWEST)
        .where(_keys.c.lab == lab, _keys.c.report_number > after)
        .order_by(_keys.c.report_number)
        .limit(limit)
    )
    return [StoredResult(*row) for row in connection.execute(_narrow(statement, query))]


def find_revisions(connection: Connection, lab: str, reports: Sequence[tuple[str, int]]) -> list[StoredResult]:
    """These revisions of a laboratory's reports, in this order; what retention has removed is left out."""
    found: dict[tuple[str, int], StoredResult] = {}
    for start in range(0, len(reports), 500):
        numbers = [number for number, _ in reports[start : start + 500]]
        persons = select(_keys.c.subject_key).where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers)).distinct()
        # Each person's rows are gone through once: a join would do so for each report, and a laboratory that writes one
        # number for everybody has thousands.
        statement = select(*COLUMNS).where(
            _results.c.subject_key.in_(connection.execute(persons).scalars().all()),
            _results.c.lab == lab,
            _results.c.report_number.in_(numbers),
        )
        for row in connection.execute(statement):
            found[row.report_number, row.revision] = StoredResult(*row)
    return [found[report] for report in reports if report in found]


def _narrow(statement: Any, query: ResultQuery) -> Any:
    statement = statement.where(_results.c.state.in_(query.states))
    if query.outcomes:
        statement = statement.where(_results.c.outcome.in_(query.outcomes))
    if query.start_time is not None:
        statement = statement.where(_results.c.file_time >= query.start_time)
    if query.end_time is not None:
        statement = statement.where(_results.c.file_time < query.end_time)
    return statement
