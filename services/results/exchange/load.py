"""Loading what entries of the change log name, as it crosses to another node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Connection, and_, select

from services.results.changelog.model import ChangeKind, Entry
from services.results.documents.store import find_links
from services.results.exchange.model import Change, Replica, SharedColumns
from services.results.labs.queries import find_labs
from services.results.missing_reports.store import find_missing_reports
from services.results.records.model import StoredResult
from services.results.records.queries import IS_NEWEST
from services.results.records.tables import report_keys, results

_results = results
_keys = report_keys

_COLUMNS = [
    _results.c.report_number,
    _results.c.subject_key,
    _keys.c.content_hash,
    _results.c.revision,
    _results.c.state,
    _results.c.source_node,
    _results.c.key_version,
    _results.c.upload_time,
    _keys.c.sampling_hash,
    _results.c.national_receive_time,
    *(_results.c[name] for name in SharedColumns._fields),
]

REVISION = 3

STATE = 4

ORIGIN = 5

OF_COMMIT = itemgetter(6, 7)
"""Key version and upload time: one for all first revisions of a commit, as long as the pepper is."""

OWN = len(_COLUMNS) - len(SharedColumns._fields)
"""Columns of a row before those that a tube's persons share."""

_ROWS_AT_ONCE = 5_000
"""Results in one statement."""

Row: TypeAlias = Any
"""A tuple of _COLUMNS, whichever driver made it."""


def changes_of(connection: Connection, entry: Entry) -> Iterator[Change]:
    """What an entry speaks of."""
    names = [name for name, _ in entry.reports]
    if entry.kind == ChangeKind.RESULTS:
        yield from (to_replica(entry.lab, row) for row in find_rows(connection, entry))
    elif entry.kind == ChangeKind.LINKS:
        yield from find_links(connection, names)
    elif entry.kind == ChangeKind.LABS:
        yield from find_labs(connection, names).values()
    else:
        yield from find_missing_reports(connection, entry.lab, names)


def find_rows(connection: Connection, entry: Entry) -> Iterator[Row]:
    """The revisions that an entry names, in its order; what retention has removed is left out."""
    for start in range(0, len(entry.reports), _ROWS_AT_ONCE):
        some = entry.reports[start : start + _ROWS_AT_ONCE]
        newest = {row[0]: row for row in _find_newest(connection, entry.lab, [number for number, _ in some])}
        others = [number for number, revision in some if number not in newest or newest[number][REVISION] != revision]
        if not others:
            yield from [newest[number] for number, _ in some]
            continue
        overtaken = {(row[0], row[REVISION]): row for row in _find_all(connection, entry.lab, others)}
        for number, revision in some:
            row = newest.get(number)
            if row is None or row[REVISION] != revision:
                row = overtaken.get((number, revision))
            if row is not None:
                yield row


_POSTGRESQL_NEWEST = (
    f"SELECT {', '.join(f'{column.table.name}.{column.name}' for column in _COLUMNS)} FROM report_keys"
    " JOIN results ON results.subject_key = report_keys.subject_key"
    " AND results.reference_time = report_keys.reference_time"
    " AND results.lab = report_keys.lab AND results.report_number = report_keys.report_number"
    " AND results.revision = report_keys.revision"
    # Neither may the planner count them, or it would rather go through the whole of a small table, by processes of its
    # own, nor has the driver to write an array: a report number has no space.
    " WHERE report_keys.lab = %s AND report_keys.report_number = ANY (ARRAY(SELECT unnest(string_to_array(%s, ' '))))"
)


def _find_newest(connection: Connection, lab: str, numbers: Sequence[str]) -> Sequence[Row]:
    """The newest revision of each of these reports: nearly always the one that is wanted, and found by its key."""
    if connection.dialect.name == "postgresql":
        # By the driver itself and in the binary format, as look-ups read.
        driver: Any = connection.connection.driver_connection
        found: list[Row] = driver.execute(_POSTGRESQL_NEWEST, (lab, " ".join(numbers)), binary=True).fetchall()
        return found
    return connection.execute(
        select(*_COLUMNS)
        .join_from(_keys, _results, IS_NEWEST)
        .where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers))
    ).all()


def _find_all(connection: Connection, lab: str, numbers: Sequence[str]) -> Sequence[Row]:
    """Every revision of these reports."""
    same_report = and_(
        _results.c.subject_key == _keys.c.subject_key,
        _results.c.lab == _keys.c.lab,
        _results.c.report_number == _keys.c.report_number,
    )
    query = select(*_COLUMNS).join_from(_keys, _results, same_report)
    return connection.execute(query.where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers))).all()


def to_replica(lab: str, row: Row) -> Replica:
    """A row of a laboratory's report as it crosses."""
    number, subject_key, content_hash, revision, state, source_node, *rest = row
    key_version, upload_time, sampling_hash, national_receive_time, *shared = rest
    tube = SharedColumns._make(shared)
    result = StoredResult(
        subject_key,
        tube.reference_time,
        lab,
        number,
        revision,
        state,
        "",
        "",
        *tube,
        upload_time,
        national_receive_time,
        source_node,
    )
    return Replica(result, key_version, content_hash, sampling_hash or b"")
