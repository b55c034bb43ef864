"""Statements that find reports and their revisions."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, select, tuple_

from services.domain.names import format_result
from services.results.records import tables
from services.results.records.horizon import absent, read_horizon, removed
from services.results.records.model import ReportName, StoredResult

_results = tables.results
_keys = tables.report_keys

COLUMNS = [getattr(_results.c, name) for name in StoredResult._fields]
IS_NEWEST = and_(
    _results.c.subject_key == _keys.c.subject_key,
    _results.c.reference_time == _keys.c.reference_time,
    _results.c.lab == _keys.c.lab,
    _results.c.report_number == _keys.c.report_number,
    _results.c.revision == _keys.c.revision,
)
"""Condition that joins a report's key to the row of its newest revision."""


def find_reports(connection: Connection, reports: Sequence[ReportName]) -> dict[ReportName, StoredResult]:
    """Return the newest revision of each of these reports that is stored."""
    query = (
        select(*COLUMNS)
        .join_from(_keys, _results, IS_NEWEST)
        .where(tuple_(_keys.c.lab, _keys.c.report_number).in_(list(reports)))
    )
    return {(row.lab, row.report_number): StoredResult(*row) for row in connection.execute(query)}


def get_result(connection: Connection, lab: str, report_number: str, revision: int | None) -> StoredResult:
    """Return one result, in its newest revision unless one is named.

    Raises:
        NotFound: it is not stored. The error names the horizon if retention may have removed the result.
        FailedPrecondition: BEFORE_HORIZON, retention has certainly removed it.
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
    # A copy from another node may have come without its older revisions, so it is not certain that retention removed
    # this one.
    raise absent(name, horizon)


def find_revisions(connection: Connection, lab: str, reports: Sequence[tuple[str, int]]) -> list[StoredResult]:
    """Return these revisions of a laboratory's reports, in this order, without those that retention has removed."""
    histories = find_histories(connection, lab, [number for number, _ in reports])
    found = {(number, result.revision): result for number, history in histories.items() for result in history}
    return [found[report] for report in reports if report in found]


def find_histories(connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, list[StoredResult]]:
    """Return all kept revisions of a laboratory's reports, oldest first."""
    found: dict[str, list[StoredResult]] = {}
    for start in range(0, len(report_numbers), 500):
        numbers = set(report_numbers[start : start + 500]) - found.keys()
        subjects = select(_keys.c.subject_key).where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers)).distinct()
        # This reads each subject's rows once. A join would read them once for each report, and a laboratory that writes
        # one document number for all its patients has thousands of reports for one subject.
        statement = select(*COLUMNS).where(
            _results.c.subject_key.in_(connection.execute(subjects).scalars().all()),
            _results.c.lab == lab,
            _results.c.report_number.in_(numbers),
        )
        for row in connection.execute(statement.order_by(_results.c.revision)):
            found.setdefault(row.report_number, []).append(StoredResult(*row))
    return found
