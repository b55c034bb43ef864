"""The outbox: a node's change log in the form in which it is sent to the node above.

It includes the changes of nodes below.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from hutong.exchange.v1.replica_pb2 import ReplicatedTubes
from sqlalchemy import Connection, delete, insert, or_, select, update

from services.domain.instant import Instant
from services.domain.region import prefix, within
from services.results.changelog.append import append_entry
from services.results.changelog.log import read_log
from services.results.changelog.model import ChangeKind, Cursor, Entry, Position
from services.results.changelog.tables import change_writers, changes, log_identity
from services.results.documents.model import DocumentLink
from services.results.documents.tables import document_links
from services.results.exchange.load import (
    NAME_HASH,
    OF_COMMIT,
    ORIGIN,
    OWN,
    REVISION,
    STATE,
    Row,
    changes_of,
    find_rows,
    to_replica,
)
from services.results.exchange.model import Change, ReplicaTubes, SharedColumns, WriterPosition
from services.results.exchange.recent_tubes import RecentTubes
from services.results.exchange.tables import lab_homes
from services.results.exchange.withheld import take_withheld
from services.results.labs.model import Lab
from services.results.labs.tables import labs
from services.results.missing_reports.answers import list_answered
from services.results.missing_reports.store import list_open
from services.results.missing_reports.tables import missing_reports
from services.results.records.model import ACTIVE
from services.runtime.ids import uuid7

_writers = change_writers
_identity = log_identity

_PAGE_RESULTS = 10_000
"""The most results that one read returns, which are about ten megabytes. A larger commit is read whole."""
_SNAPSHOT_STEP = 10_000
"""The most links that one entry of a snapshot names. They are one page of the outbox."""


class Outgoing(NamedTuple):
    """One commit with the changes that are to be sent.

    Changes that came from the node above, and changes that have been removed since, are left out. `messages` are the
    messages of the tubes if these are known already; empty otherwise.
    """

    entry: Entry
    tubes: Sequence[ReplicaTubes]
    changes: Sequence[Change]
    messages: Sequence[ReplicatedTubes] = ()


class Page(NamedTuple):
    """Commits in the order in which they are sent.

    Attributes:
        backlog: the number of commits after these.
        withheld: the kinds of changes that were left out of them, because the node above does not know these kinds.
    """

    commits: Sequence[Outgoing]
    backlog: int
    withheld: frozenset[ChangeKind] = frozenset()


def read_log_id(connection: Connection) -> str:
    """Return the identity of this node's log. The first call creates it."""
    known = connection.execute(select(_identity.c.log_id)).scalar()
    return str(known) if known is not None else renew_log_id(connection)


def renew_log_id(connection: Connection) -> str:
    """Give the log a new identity, so that the node above takes it as a new log and receives everything again."""
    connection.execute(delete(_identity))
    log_id = uuid7()
    connection.execute(insert(_identity).values(log_id=log_id))
    return log_id


def append_registers(connection: Connection, now: Instant) -> None:
    """Log what a node above that does not know this log may lack.

    These are all laboratories, all links, the missing reports listed here or below, and the laboratories' answers to
    missing reports.
    """
    links = document_links
    _append_labs(connection, now)
    link_ids = connection.execute(select(links.c.link_id).order_by(links.c.link_id)).scalars().all()
    for start in range(0, len(link_ids), _SNAPSHOT_STEP):
        some = [(link_id, 0) for link_id in link_ids[start : start + _SNAPSHOT_STEP]]
        append_entry(connection, "", some, now, ChangeKind.LINKS)
    append_listed(connection, now)
    append_answers(connection, now)


def _append_labs(connection: Connection, now: Instant) -> None:
    usccs = connection.execute(select(labs.c.uscc).order_by(labs.c.uscc)).scalars().all()
    append_entry(connection, "", [(uscc, 0) for uscc in usccs], now, ChangeKind.LABS)


def append_contacts(connection: Connection, above: str, now: Instant, *, has_all_labs: bool) -> None:
    """Log every laboratory again if the node above may lack their contacts.

    Args:
        connection: the database of this node.
        above: the node above; empty if it does not know contacts.
        now: the instant of the entry.
        has_all_labs: every laboratory was logged already since the stream was opened.
    """
    changed = update(_identity).where(_identity.c.contacts_sent_to != above).values(contacts_sent_to=above)
    if connection.execute(changed).rowcount and above and not has_all_labs:
        _append_labs(connection, now)


def append_answers(connection: Connection, now: Instant) -> None:
    """Log the laboratories' answers to missing reports again.

    Answers of laboratories elsewhere are left out, because they came from the node above.
    """
    table, below = missing_reports, select(lab_homes.c.uscc)
    for lab, numbers in list_answered(connection, or_(table.c.passed_on.is_(False), table.c.lab.in_(below))).items():
        append_entry(connection, lab, [(number, 0) for number in numbers], now, ChangeKind.MISSING_REPORT_ANSWERS)


def append_listed(connection: Connection, now: Instant) -> None:
    """Log the open missing reports that this node lists, because the node above may not list them yet."""
    for lab, numbers in list_open(connection).items():
        append_entry(connection, lab, [(number, 0) for number in numbers], now, ChangeKind.LISTED_MISSING_REPORTS)


def removed_positions(connection: Connection) -> list[WriterPosition]:
    """Return for each writer the number of commits whose entries retention has removed."""
    query = select(_writers.c.writer_id, _writers.c.removed_sequence).where(_writers.c.removed_sequence > 0)
    return [WriterPosition(row.writer_id, row.removed_sequence, None) for row in connection.execute(query)]


def is_of_this_log(connection: Connection, positions: Sequence[WriterPosition]) -> bool:
    """Return whether the positions of the node above are of this log.

    They are not if this store is an older copy of the log.
    """
    writers = {row.writer_id: row for row in connection.execute(select(_writers))}
    for position in positions:
        writer = writers.get(position.writer)
        if writer is None or position.offset > writer.newest_sequence:
            return False
        if position.commit_time is None or position.offset <= writer.removed_sequence:
            continue
        of_position = (changes.c.writer_id == position.writer, changes.c.sequence == position.offset)
        if connection.execute(select(changes.c.commit_time).where(*of_position)).scalar() != position.commit_time:
            return False
    return True


def append_withheld(connection: Connection, above: str, unknown: Collection[ChangeKind], now: Instant) -> None:
    """Log again what was withheld from the node above and is of a kind that the node knows now.

    `unknown` are the kinds that the node does not know.
    """
    known = take_withheld(connection, above, unknown)
    if ChangeKind.LISTED_MISSING_REPORTS in known:
        append_listed(connection, now)
    if ChangeKind.MISSING_REPORT_ANSWERS in known:
        append_answers(connection, now)


def read_page(
    connection: Connection,
    sent: Mapping[int, int],
    node: str,
    unknown: Collection[ChangeKind] = (),
    recent: RecentTubes | None = None,
) -> Page:
    """Return the next commits to send. `sent` is the number of commits already sent, by writer.

    If the node above does not know the kind of a commit (`unknown`), the commit is sent without its changes. Tubes in
    `recent` are taken from there, and not read.
    """
    newest: dict[int, int] = dict(connection.execute(select(_writers.c.writer_id, _writers.c.newest_sequence)).all())
    cursor: Cursor = {writer: Position(offset) for writer, offset in sent.items()}
    entries = read_log(connection, cursor, _PAGE_RESULTS).entries
    for entry in entries:
        cursor[entry.writer_id] = Position(entry.sequence)
    backlog = sum(max(0, count - cursor.get(writer, Position(0)).sequence) for writer, count in newest.items())
    commits = [
        Outgoing(entry, (), ())
        if entry.kind in unknown
        else _recent(entry, recent) or _outgoing(connection, entry, node)
        for entry in entries
    ]
    return Page(commits, backlog, frozenset(entry.kind for entry in entries if entry.kind in unknown))


def _recent(entry: Entry, recent: RecentTubes | None) -> Outgoing | None:
    """Return a commit whose tubes have just arrived from a node below; None if they must be read."""
    found = recent.take(entry) if recent is not None else ()
    return Outgoing(entry, [one.tubes for one in found], (), [one.message for one in found]) if found else None


def _outgoing(connection: Connection, entry: Entry, node: str) -> Outgoing:
    if entry.kind != ChangeKind.RESULTS:
        found = (_to_send(one, entry, node) for one in changes_of(connection, entry))
        return Outgoing(entry, (), [one for one in found if one is not None])
    # Results imported from elsewhere are left out, because their own node sends them.
    inside = prefix(node)
    own = [row for row in find_rows(connection, entry) if row[ORIGIN].startswith(inside)]
    first = [row for row in own if row[REVISION] == 1 and row[STATE] == ACTIVE]
    tubes = [
        _tubes(entry, key_version, upload_time, source_node, list(rows))
        for (source_node, key_version, upload_time), rows in groupby(first, OF_COMMIT)
    ]
    others = [row for row in own if row[REVISION] != 1 or row[STATE] != ACTIVE] if len(first) < len(own) else []
    replicas = [to_replica(entry.lab, row) for row in others]
    return Outgoing(
        entry, tubes, [one._replace(other_key=entry.other_keys.get(one.result.report_number, b"")) for one in replicas]
    )


def _to_send(change: Change, entry: Entry, node: str) -> Change | None:
    """Return a change as this node sends it; None if this node does not send it.

    Nodes elsewhere have made some of the stored links. Of these, this node sends only links that were removed here, and
    links whose end a node below requested.
    """
    if isinstance(change, Lab):
        return replace(change, home="")
    if not isinstance(change, DocumentLink) or not change.source_node or within(change.source_node, node):
        return change
    if change.unlink_node is None or not within(change.unlink_node, node):
        return None
    return change if change.unlink_time is not None else replace(change, unlink_time=entry.commit_time)


def _tubes(entry: Entry, key_version: int, upload_time: Instant, source_node: str, rows: Sequence[Row]) -> ReplicaTubes:
    """Return first revisions of a commit by column. Adjacent rows with equal shared columns are of one tube."""
    columns = list(zip(*rows, strict=True))
    tubes: list[SharedColumns] = []
    sizes: list[int] = []
    for shared, persons in groupby(zip(*columns[OWN:], strict=True)):
        tubes.append(SharedColumns._make(shared))
        sizes.append(len(list(persons)))
    report_numbers, subject_keys, content_hashes = columns[:3]
    others = entry.other_keys
    return ReplicaTubes(
        entry.lab,
        key_version,
        upload_time,
        source_node,
        tubes,
        sizes,
        subject_keys,
        report_numbers,
        content_hashes,
        columns[NAME_HASH],
        [others.get(number, b"") for number in report_numbers] if others else (),
    )
