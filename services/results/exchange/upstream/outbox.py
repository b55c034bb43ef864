"""A province's own change log as it goes up to the nation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, and_, delete, insert, select

from services.domain.instant import Instant
from services.results import tables
from services.results.changelog.log import ChangeKind, Cursor, Entry, Place, append_entry, read_log
from services.results.exchange.model import (
    Change,
    Reminder,
    Replica,
    ReplicaTubes,
    SharedColumns,
    WriterPosition,
)
from services.results.labs.store import find_labs
from services.results.documents.store import find_links
from services.results.records.model import ACTIVE, StoredResult
from services.results.records.revisions import IS_NEWEST
from services.runtime.ids import uuid7

_results = tables.results
_keys = tables.report_keys
_writers = tables.change_writers
_identity = tables.log_identity

_COLUMNS = [
    _results.c.report_number,
    _results.c.subject_key,
    _keys.c.content_hash,
    _results.c.revision,
    _results.c.state,
    _results.c.origin,
    _results.c.key_version,
    _results.c.upload_time,
    _keys.c.sampling_hash,
    _results.c.nationwide_time,
    *(_results.c[name] for name in SharedColumns._fields),
]
_REVISION, _STATE, _ORIGIN = 3, 4, 5
_OF_COMMIT = itemgetter(6, 7)
"""Key version and upload time: one for all first revisions of a commit, as long as the pepper is."""
_OWN = len(_COLUMNS) - len(SharedColumns._fields)
"""Columns of a row before those that a tube's persons share."""
_PAGE_RESULTS = 10_000
"""Results that are read at once, but one commit at least: some ten megabytes."""
_ROWS_AT_ONCE = 5_000
"""Results in one statement."""
_SNAPSHOT_STEP = 10_000
"""Links that one entry of a snapshot names."""


Row: TypeAlias = Any
"""A tuple of _COLUMNS, whichever driver made it."""


class Outgoing(NamedTuple):
    """One commit with all that is to be told of it: nothing where it was another node's, or is removed since."""

    entry: Entry
    tubes: Sequence[ReplicaTubes]
    changes: Sequence[Change]


class Page(NamedTuple):
    """Commits in the order they are to be sent, and how many there are beyond them."""

    commits: Sequence[Outgoing]
    backlog: int


def read_log_id(connection: Connection) -> str:
    """The identity of this node's log, made when it is first asked for."""
    known = connection.execute(select(_identity.c.log_id)).scalar()
    return str(known) if known is not None else renew_log_id(connection)


def renew_log_id(connection: Connection) -> str:
    """Give the log a new identity: it is not the one that the nation knows, and begins anew there."""
    connection.execute(delete(_identity))
    log_id = uuid7()
    connection.execute(insert(_identity).values(log_id=log_id))
    return log_id


def append_registers(connection: Connection, now: Instant) -> None:
    """Log every laboratory and every link: a nation that knows nothing of this log may have missed when they were."""
    labs, links = tables.labs, tables.document_links
    usccs = connection.execute(select(labs.c.uscc).order_by(labs.c.uscc)).scalars().all()
    append_entry(connection, "", [(uscc, 0) for uscc in usccs], now, ChangeKind.LABS)
    link_ids = connection.execute(select(links.c.link_id).order_by(links.c.link_id)).scalars().all()
    for start in range(0, len(link_ids), _SNAPSHOT_STEP):
        some = [(link_id, 0) for link_id in link_ids[start : start + _SNAPSHOT_STEP]]
        append_entry(connection, "", some, now, ChangeKind.LINKS)


def removed_positions(connection: Connection) -> list[WriterPosition]:
    """Of how many commits of each writer retention has removed the entries."""
    query = select(_writers.c.writer_id, _writers.c.removed_sequence).where(_writers.c.removed_sequence > 0)
    return [WriterPosition(row.writer_id, row.removed_sequence, None) for row in connection.execute(query)]


def is_of_this_log(connection: Connection, positions: Sequence[WriterPosition]) -> bool:
    """Whether what the nation knows can have come from this log, and not from one of which this is an older copy."""
    writers = {row.writer_id: row for row in connection.execute(select(_writers))}
    changes = tables.changes
    for position in positions:
        writer = writers.get(position.writer)
        if writer is None or position.offset > writer.newest_sequence:
            return False
        if position.commit_time is None or position.offset <= writer.removed_sequence:
            continue
        its = (changes.c.writer_id == position.writer, changes.c.sequence == position.offset)
        if connection.execute(select(changes.c.commit_time).where(*its)).scalar() != position.commit_time:
            return False
    return True


def read_page(connection: Connection, sent: Mapping[int, int], node: str) -> Page:
    """What comes after the commits that were sent (how many of each writer), as much as is read at once."""
    newest: dict[int, int] = dict(connection.execute(select(_writers.c.writer_id, _writers.c.newest_sequence)).all())
    cursor: Cursor = {writer: Place(offset) for writer, offset in sent.items()}
    entries = read_log(connection, cursor, _PAGE_RESULTS).entries
    for entry in entries:
        cursor[entry.writer_id] = Place(entry.sequence)
    backlog = sum(max(0, count - cursor.get(writer, Place(0)).sequence) for writer, count in newest.items())
    return Page([_outgoing(connection, entry, node) for entry in entries], backlog)


def _outgoing(connection: Connection, entry: Entry, node: str) -> Outgoing:
    if entry.kind != ChangeKind.RESULTS:
        return Outgoing(entry, (), list(changes_of(connection, entry)))
    # What was taken from another node is that one's to tell.
    own = [row for row in _find_rows(connection, entry) if row[_ORIGIN] == node]
    first = [row for row in own if row[_REVISION] == 1 and row[_STATE] == ACTIVE]
    tubes = [
        _tubes(entry.lab, key_version, upload_time, node, list(rows))
        for (key_version, upload_time), rows in groupby(first, _OF_COMMIT)
    ]
    others = [row for row in own if row[_REVISION] != 1 or row[_STATE] != ACTIVE] if len(first) < len(own) else []
    return Outgoing(entry, tubes, [_replica(entry.lab, row) for row in others])


def _tubes(lab: str, key_version: int, upload_time: Instant, node: str, rows: Sequence[Row]) -> ReplicaTubes:
    """First revisions of a commit, column by column. Neighbours that have all in common are of one tube."""
    columns = list(zip(*rows, strict=True))
    tubes: list[SharedColumns] = []
    sizes: list[int] = []
    for shared, persons in groupby(zip(*columns[_OWN:], strict=True)):
        tubes.append(SharedColumns._make(shared))
        sizes.append(len(list(persons)))
    report_numbers, subject_keys, content_hashes = columns[:3]
    return ReplicaTubes(lab, key_version, upload_time, node, tubes, sizes, subject_keys, report_numbers, content_hashes)


def changes_of(connection: Connection, entry: Entry) -> Iterator[Change]:
    """What an entry speaks of."""
    names = [name for name, _ in entry.reports]
    if entry.kind == ChangeKind.RESULTS:
        yield from (_replica(entry.lab, row) for row in _find_rows(connection, entry))
    elif entry.kind == ChangeKind.LINKS:
        yield from find_links(connection, names)
    elif entry.kind == ChangeKind.LABS:
        yield from find_labs(connection, names).values()
    else:
        table = tables.follow_ups
        query = select(table.c.lab, table.c.report_number, table.c.create_time, table.c.raised_by).where(
            table.c.lab == entry.lab, table.c.report_number.in_(names)
        )
        yield from (Reminder(*row) for row in connection.execute(query))


def _find_rows(connection: Connection, entry: Entry) -> Iterator[Row]:
    """The revisions that an entry names, in its order; what retention has removed is left out."""
    for start in range(0, len(entry.reports), _ROWS_AT_ONCE):
        some = entry.reports[start : start + _ROWS_AT_ONCE]
        newest = {row[0]: row for row in _find_newest(connection, entry.lab, [number for number, _ in some])}
        others = [number for number, revision in some if number not in newest or newest[number][_REVISION] != revision]
        if not others:
            yield from [newest[number] for number, _ in some]
            continue
        overtaken = {(row[0], row[_REVISION]): row for row in _find_all(connection, entry.lab, others)}
        for number, revision in some:
            row = newest.get(number)
            if row is None or row[_REVISION] != revision:
                row = overtaken.get((number, revision))
            if row is not None:
                yield row


_POSTGRESQL_NEWEST = (
    f"SELECT {', '.join(f'{column.table.name}.{column.name}' for column in _COLUMNS)} FROM report_keys"
    " JOIN results ON results.subject_key = report_keys.subject_key AND results.file_time = report_keys.file_time"
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


def _replica(lab: str, row: Row) -> Replica:
    number, subject_key, content_hash, revision, state, origin, *rest = row
    key_version, upload_time, sampling_hash, nationwide_time, *shared = rest
    tube = SharedColumns._make(shared)
    result = StoredResult(
        subject_key,
        tube.file_time,
        lab,
        number,
        revision,
        state,
        "",
        "",
        *tube,
        upload_time,
        nationwide_time,
        origin,
    )
    return Replica(result, key_version, content_hash, sampling_hash or b"")
