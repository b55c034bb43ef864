"""A province's own change log as it goes up to the nation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, insert, select

from services.domain.instant import Instant
from services.results import tables
from services.results.changes import ChangeKind, Cursor, Entry, Place, append_entry, read_entries
from services.results.exchange.model import (
    Change,
    Reminder,
    Replica,
    ReplicaPerson,
    ReplicaTube,
    SharedColumns,
    WriterPosition,
)
from services.results.labs import find_labs
from services.results.links import find_links
from services.results.model import ACTIVE
from services.results.revisions import IS_NEWEST
from services.runtime.ids import uuid7

_results = tables.results
_keys = tables.report_keys
_writers = tables.change_writers
_identity = tables.log_identity

_SHARED_COLUMNS = [_results.c[name] for name in SharedColumns._fields]
_COLUMNS = [
    _results.c.report_number,
    _results.c.revision,
    _results.c.state,
    _results.c.subject_key,
    _keys.c.content_hash,
    _keys.c.sampling_hash,
    _results.c.nationwide_time,
    *_SHARED_COLUMNS,
]
_OWN = len(_COLUMNS) - len(_SHARED_COLUMNS)
"""Columns of a row before those that a tube's persons share."""
_MOST_OF_A_TUBE = 50
"""Persons told together, whatever a laboratory takes for a tube."""
_SNAPSHOT_STEP = 10_000
"""Links that one entry of a snapshot names."""


class Outgoing(NamedTuple):
    """One commit with all that is to be told of it: nothing where it was another node's, or is removed since."""

    entry: Entry
    tubes: Sequence[ReplicaTube]
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
    entries = read_entries(connection, cursor)
    for entry in entries:
        cursor[entry.writer_id] = Place(entry.sequence)
    backlog = sum(max(0, count - cursor.get(writer, Place(0)).sequence) for writer, count in newest.items())
    return Page([_outgoing(connection, entry, node) for entry in entries], backlog)


def _outgoing(connection: Connection, entry: Entry, node: str) -> Outgoing:
    if entry.kind != ChangeKind.RESULTS:
        return Outgoing(entry, (), list(changes_of(connection, entry)))
    tubes: list[ReplicaTube] = []
    changes: list[Change] = []
    last: tuple[Any, ...] = ()
    for row in _find_rows(connection, entry):
        shared = tuple(row[_OWN:])
        # What was taken from another node is that one's to tell.
        if shared[-1] != node:
            continue
        if row[1] != 1 or row[2] != ACTIVE:
            changes.append(_replica(row))
            continue
        if shared != last or len(tubes[-1].persons) == _MOST_OF_A_TUBE:
            tubes.append(ReplicaTube(SharedColumns._make(shared), []))
            last = shared
        tubes[-1].persons.append(ReplicaPerson(row[3], row[0], row[4]))
    return Outgoing(entry, tubes, changes)


def changes_of(connection: Connection, entry: Entry) -> Iterator[Change]:
    """What an entry speaks of."""
    names = [name for name, _ in entry.reports]
    if entry.kind == ChangeKind.RESULTS:
        yield from map(_replica, _find_rows(connection, entry))
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


def _find_rows(connection: Connection, entry: Entry) -> Iterator[Any]:
    """The revisions that an entry names, in its order; what retention has removed is left out."""
    for start in range(0, len(entry.reports), 1_000):
        some = entry.reports[start : start + 1_000]
        newest = {row[0]: row for row in _find_newest(connection, entry.lab, [number for number, _ in some])}
        others = [number for number, revision in some if number not in newest or newest[number][1] != revision]
        overtaken = {(row[0], row[1]): row for row in _find_all(connection, entry.lab, others)} if others else {}
        for number, revision in some:
            row = newest.get(number)
            if row is None or row[1] != revision:
                row = overtaken.get((number, revision))
            if row is not None:
                yield row


_POSTGRESQL_NEWEST = (
    f"SELECT {', '.join(f'{column.table.name}.{column.name}' for column in _COLUMNS)} FROM report_keys"
    " JOIN results ON results.subject_key = report_keys.subject_key AND results.file_time = report_keys.file_time"
    " AND results.lab = report_keys.lab AND results.report_number = report_keys.report_number"
    " AND results.revision = report_keys.revision"
    " WHERE report_keys.lab = %s AND report_keys.report_number = ANY (%s::text[])"
)


def _find_newest(connection: Connection, lab: str, numbers: Sequence[str]) -> Iterable[Any]:
    """The newest revision of each of these reports: nearly always the one that is wanted, and found by its key."""
    if connection.dialect.name == "postgresql":
        # By the driver itself and in the binary format, as look-ups read.
        driver: Any = connection.connection.driver_connection
        found: Iterable[Any] = driver.execute(_POSTGRESQL_NEWEST, (lab, list(numbers)), binary=True)
        return found
    return connection.execute(
        select(*_COLUMNS)
        .join_from(_keys, _results, IS_NEWEST)
        .where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers))
    )


def _find_all(connection: Connection, lab: str, numbers: Sequence[str]) -> Iterable[Any]:
    """Every revision of these reports."""
    same_report = and_(
        _results.c.subject_key == _keys.c.subject_key,
        _results.c.lab == _keys.c.lab,
        _results.c.report_number == _keys.c.report_number,
    )
    query = select(*_COLUMNS).join_from(_keys, _results, same_report)
    return connection.execute(query.where(_keys.c.lab == lab, _keys.c.report_number.in_(numbers)))


def _replica(row: Any) -> Replica:
    number, revision, state, subject_key, content_hash, sampling_hash, nationwide_time, *rest = row
    shared = SharedColumns._make(rest)
    result = shared.result_of(subject_key, number, revision, state, nationwide_time)
    return Replica(result, shared.key_version, content_hash, sampling_hash or b"")
