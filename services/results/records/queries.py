"""Statements that find reports and their revisions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, select, tuple_

from services.domain.instant import Instant
from services.domain.names import format_result
from services.results.records import tables
from services.results.records.horizon import absent, read_horizon, removed
from services.results.records.model import SUPERSEDED, ReportName, StoredResult
from services.storage.advisory_locks import AdvisoryLock, lock_names_until_commit
from services.storage.connections import is_distributed

_results = tables.results
_keys = tables.report_keys

COLUMNS = [getattr(_results.c, name) for name in StoredResult._fields]


class KeyedReport(NamedTuple):
    """Where to find the newest revision of a report. The report's key gives these values."""

    lab: str
    report_number: str
    subject_key: bytes
    reference_time: Instant
    revision: int


KEYED = [getattr(_keys.c, name) for name in KeyedReport._fields]
"""The columns of a KeyedReport."""
_REPORTS_AT_ONCE = 5_000
"""Reports that one statement reads. SQLite takes 32,766 parameters by default."""


def find_keyed(connection: Connection, lab: str, report_numbers: Sequence[str]) -> list[KeyedReport]:
    """Return where to find the newest revisions of a laboratory's reports."""
    found: list[KeyedReport] = []
    for start in range(0, len(report_numbers), _REPORTS_AT_ONCE):
        some = _keys.c.report_number.in_(report_numbers[start : start + _REPORTS_AT_ONCE])
        found += [KeyedReport._make(row) for row in connection.execute(select(*KEYED).where(_keys.c.lab == lab, some))]
    return found


def hold_keys(connection: Connection, query: Select[Any], labs: Iterable[str]) -> Sequence[Row[Any]]:
    """Run a query for keys of these laboratories' reports, and lock the keys until the commit.

    Citus cannot lock rows of several machines. On Citus the laboratories are therefore locked in place of the keys.
    """
    if is_distributed(connection):
        lock_names_until_commit(connection, AdvisoryLock.REPORTS, labs)
        return connection.execute(query).all()
    return connection.execute(query.with_for_update()).all()


def are_newest(keyed: Collection[KeyedReport]) -> ColumnElement[bool]:
    """Return the condition that selects the newest revisions of these reports, which are of one laboratory.

    The condition does not join `results` with the keys. Keys are cut by report and results by subject
    (services/results/distribution.py), so that a join would cross machines. The newest revision is the one that is not
    superseded.
    """
    times = [one.reference_time for one in keyed]
    return and_(
        _results.c.subject_key.in_({one.subject_key for one in keyed}),
        # This condition lets PostgreSQL skip the partitions of other months.
        _results.c.reference_time.between(min(times), max(times)),
        _results.c.lab.in_({one.lab for one in keyed}),
        _results.c.report_number.in_({one.report_number for one in keyed}),
        _results.c.state != SUPERSEDED,
    )


def find_newest(
    connection: Connection, keyed: Sequence[KeyedReport], columns: Sequence[ColumnElement[Any]], *conditions: Any
) -> Iterator[Any]:
    """Yield columns of the newest revisions that meet the conditions, in no order.

    The reports are of one laboratory.
    """
    for start in range(0, len(keyed), _REPORTS_AT_ONCE):
        some = keyed[start : start + _REPORTS_AT_ONCE]
        yield from connection.execute(select(*columns).where(are_newest(some), *conditions))


def find_reports(connection: Connection, reports: Sequence[ReportName]) -> dict[ReportName, StoredResult]:
    """Return the newest revisions of those of these reports that are stored."""
    found: dict[ReportName, StoredResult] = {}
    asked: dict[ReportName, KeyedReport] = {}
    wanted = list(reports)
    while wanted:
        query = select(*KEYED).where(tuple_(_keys.c.lab, _keys.c.report_number).in_(wanted))
        # A report that was not found is looked up once more. If its key is unchanged, the report is not stored. If its
        # key has changed, a correction was committed between the two reads.
        moved = {
            (row.lab, row.report_number): KeyedReport._make(row)
            for row in connection.execute(query)
            if asked.get((row.lab, row.report_number)) != tuple(row)
        }
        asked |= moved
        of_labs: dict[str, list[KeyedReport]] = {}
        for one in moved.values():
            of_labs.setdefault(one.lab, []).append(one)
        for keyed in of_labs.values():
            for row in find_newest(connection, keyed, COLUMNS):
                found[row.lab, row.report_number] = StoredResult(*row)
        wanted = [name for name in moved if name not in found]
    return found


def get_result(connection: Connection, lab: str, report_number: str, revision: int | None) -> StoredResult:
    """Return one revision of a result: the named revision, or the newest revision if None.

    Raises:
        NotFound: the revision is not stored. The error names the horizon if retention may have removed the result.
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
    # Retention may have removed this revision, but a copy from another node may also have come without its older
    # revisions.
    raise absent(name, horizon)


def find_revisions(connection: Connection, lab: str, reports: Sequence[tuple[str, int]]) -> list[StoredResult]:
    """Return these revisions of a laboratory's reports, in the order given.

    Revisions that retention has removed are left out.
    """
    histories = find_histories(connection, lab, [number for number, _ in reports])
    found = {(number, result.revision): result for number, history in histories.items() for result in history}
    return [found[report] for report in reports if report in found]


def find_histories(connection: Connection, lab: str, report_numbers: Sequence[str]) -> dict[str, list[StoredResult]]:
    """Return all kept revisions of a laboratory's reports, oldest first."""
    found: dict[str, list[StoredResult]] = {}
    for start in range(0, len(report_numbers), 500):
        numbers = set(report_numbers[start : start + 500]) - found.keys()
        subjects = select(_keys.c.subject_key).where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers)).distinct()
        # Rows are found by subject, without a join, so that each subject's rows are read once. A join would read them
        # once for each report. A laboratory that writes one document number for all its patients has thousands of
        # reports for one subject.
        statement = select(*COLUMNS).where(
            _results.c.subject_key.in_(connection.execute(subjects).scalars().all()),
            _results.c.lab == lab,
            _results.c.report_number.in_(numbers),
        )
        for row in connection.execute(statement.order_by(_results.c.revision)):
            found.setdefault(row.report_number, []).append(StoredResult(*row))
    return found
