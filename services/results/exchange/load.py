"""Load the changes that entries of the change log name, in the form that is sent to another node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Connection, select

from services.results.changelog.model import OF_MISSING_REPORTS, ChangeKind, Entry
from services.results.documents.store import find_links
from services.results.exchange.model import AdverseSubject, Change, Replica, SharedColumns
from services.results.labs.queries import find_labs
from services.results.missing_reports.store import find_missing_reports
from services.results.records.model import StoredResult
from services.results.records.queries import KEYED, KeyedReport, find_newest
from services.results.records.tables import report_keys, results
from services.storage.connections import is_distributed

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
    _results.c.name_hash,
    *(_results.c[name] for name in SharedColumns._fields),
]

_OF_RESULTS = [column for column in _COLUMNS if column.table is _results]
"""The columns of results. PostgreSQL reads results and their keys by one statement. SQLite needs two statements. Citus
needs two as well, because it keeps results and keys on different machines."""

REVISION = 3
"""The index of the revision in a row. This index and the indexes below refer to the order of _COLUMNS."""
STATE = 4
ORIGIN = 5
"""Index of the source node."""
NAME_HASH = 10
OF_COMMIT = itemgetter(5, 6, 7)
"""Source node, key version and upload time of a row. They are equal for all first revisions of a commit under one
pepper."""

OWN = len(_COLUMNS) - len(SharedColumns._fields)
"""The number of columns before the columns that the persons of a tube share."""

_ROWS_AT_ONCE = 5_000
"""The most results that one statement reads."""

LABS_AT_ONCE = 1_000
"""The most laboratories that one statement reads."""

Row: TypeAlias = Any
"""The values of _COLUMNS, as a row of SQLAlchemy or a tuple of the PostgreSQL driver."""


def changes_of(connection: Connection, entry: Entry) -> Iterator[Change]:
    """Return the changes that an entry names and that are still stored."""
    # Retention replaces the names of erased reports by empty names.
    names = [name for name, _ in entry.reports if name]
    if entry.kind == ChangeKind.RESULTS:
        yield from (to_replica(entry.lab, row) for row in find_rows(connection, entry))
    elif entry.kind == ChangeKind.LINKS:
        yield from find_links(connection, names)
    elif entry.kind == ChangeKind.LABS:
        for start in range(0, len(names), LABS_AT_ONCE):
            yield from find_labs(connection, names[start : start + LABS_AT_ONCE]).values()
    elif entry.kind == ChangeKind.ADVERSE_SUBJECTS:
        yield from (AdverseSubject(bytes.fromhex(name)) for name in names)
    elif entry.kind in OF_MISSING_REPORTS:
        yield from find_missing_reports(connection, entry.lab, names)


def find_rows(connection: Connection, entry: Entry) -> Iterator[Row]:
    """Return the revisions that an entry names, in the entry's order.

    Revisions that retention has removed are left out.
    """
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
    # The numbers are passed as one string, separated by spaces. No report number contains a space. The string hides the
    # count of numbers from the planner, which would otherwise choose a parallel sequential scan. It also spares the
    # driver an array.
    " WHERE report_keys.lab = %s AND report_keys.report_number = ANY (ARRAY(SELECT unnest(string_to_array(%s, ' '))))"
)


def _find_newest(connection: Connection, lab: str, numbers: Sequence[str]) -> Sequence[Row]:
    """Return the newest revision of each report, to which the report's key points.

    Nearly always this is the revision that the entry names.
    """
    if connection.dialect.name == "postgresql" and not is_distributed(connection):
        # Calling the driver directly, in binary format, is faster. Look-ups do the same.
        driver: Any = connection.connection.driver_connection
        found: list[Row] = driver.execute(_POSTGRESQL_NEWEST, (lab, " ".join(numbers)), binary=True).fetchall()
        return found
    keys = _find_keys(connection, lab, numbers)
    keyed = [KeyedReport._make(key[: len(KEYED)]) for key in keys.values()]
    revisions = {one.report_number: one.revision for one in keyed}
    return [
        _with_key(row, keys)
        for row in find_newest(connection, keyed, _OF_RESULTS)
        if row.revision == revisions[row.report_number]
    ]


def _find_all(connection: Connection, lab: str, numbers: Sequence[str]) -> Sequence[Row]:
    """Return every revision of these reports."""
    keys = _find_keys(connection, lab, numbers)
    query = select(*_OF_RESULTS).where(
        _results.c.subject_key.in_({key.subject_key for key in keys.values()}),
        _results.c.lab == lab,
        _results.c.report_number.in_(keys),
    )
    found = (_with_key(row, keys) for row in connection.execute(query))
    return [row for row in found if row[1] == keys[row[0]].subject_key]


def _find_keys(connection: Connection, lab: str, numbers: Sequence[str]) -> dict[str, Any]:
    query = select(*KEYED, _keys.c.content_hash, _keys.c.sampling_hash)
    rows = connection.execute(query.where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers)))
    return {row.report_number: row for row in rows}


def _with_key(row: Any, keys: Mapping[str, Any]) -> Row:
    """Return the values of _COLUMNS, made from the values of _OF_RESULTS and the report's key."""
    key = keys[row[0]]
    return (*row[:2], key.content_hash, *row[2:7], key.sampling_hash, *row[7:])


def to_replica(lab: str, row: Row) -> Replica:
    """Return the replica for a row of a laboratory's report."""
    number, subject_key, content_hash, revision, state, source_node, *rest = row
    key_version, upload_time, sampling_hash, national_receive_time, name_hash, *shared = rest
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
        name_hash,
    )
    return Replica(result, key_version, content_hash, sampling_hash or b"")
