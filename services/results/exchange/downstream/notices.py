"""What the nation tells its nodes: changes to results that they follow, reminders to their laboratories.

A commit that concerns a node takes the next numbers of the node's row and holds it to its end, so numbers and commits
have one order, and a watcher that has seen 7 has seen 6. Nodes are taken in one order everywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, insert, literal, select, update

from services.domain.errors import OutOfRange
from services.domain.instant import Instant, format_instant
from services.results import tables
from services.results.changelog.log import ChangeKind, Entry, pack_reports, unpack_reports
from services.results.exchange.model import Change, Reminder
from services.results.exchange.upstream.outbox import changes_of
from services.results.records.model import DocumentLink, StoredResult

FOLLOWING_LOCK = 0x48755466
"""Of the advisory lock that a commit shares which looks up followers: whoever begins to follow waits for it."""
PAGE = 50
"""Notices that a watcher reads at once."""

_nodes = tables.nodes
_notices = tables.notices
_followed = tables.followed_subjects
_keys = tables.report_keys


class ChangedReport(NamedTuple):
    """A revision that a commit wrote, and whose it is."""

    lab: str
    report_number: str
    revision: int
    subject_key: bytes

    @classmethod
    def of(cls, result: StoredResult) -> ChangedReport:
        """This revision."""
        return cls(result.lab, result.report_number, result.revision, result.subject_key)


class NoticePlace(NamedTuple):
    """How many notices to a node are dealt with, and when the last of them was committed; None for none."""

    number: int
    commit_time: Instant | None


class Notice(NamedTuple):
    """One notice with all that it speaks of: less where retention has removed it since, nothing for a following."""

    place: NoticePlace
    changes: Sequence[Change]


def give_notices(
    connection: Connection,
    reports: Sequence[ChangedReport],
    now: Instant,
    reminders: Sequence[Reminder] = (),
    links: Sequence[DocumentLink] = (),
    but_not: str = "",
) -> None:
    """Tell nodes of what the transaction wrote: who follows its persons, who has registered its laboratories.

    To be called once in a transaction, after its writes. Where nobody follows anybody it costs one look.
    """
    told: defaultdict[str, defaultdict[tuple[ChangeKind, str], list[tuple[str, int]]]]
    told = defaultdict(lambda: defaultdict(list))
    followers: dict[bytes, list[str]] = {}
    if (reports or links) and is_anybody_followed(connection):
        persons = {report.subject_key for report in reports} | {key for link in links for key in _keys_of(link)}
        followers = _find_followers(connection, persons)
    for report in reports:
        for node in followers.get(report.subject_key, ()):
            told[node][ChangeKind.RESULTS, report.lab].append((report.report_number, report.revision))
    for link in links:
        for node in {node for key in _keys_of(link) for node in followers.get(key, ())}:
            told[node][ChangeKind.LINKS, ""].append((link.link_id, 0))
    homes = _find_homes(connection, {reminder.lab for reminder in reminders}) if reminders else {}
    for reminder in reminders:
        for node in homes.get(reminder.lab, ()):
            if node != reminder.raised_by:
                told[node][ChangeKind.FOLLOW_UPS, reminder.lab].append((reminder.report_number, 0))
    for node in sorted(told.keys() - {but_not}):
        _append(connection, node, told[node], now)


def note_following(connection: Connection, node: str, now: Instant) -> None:
    """Let a notice of nothing stand for persons whom a node follows from now on.

    A nation restored from a copy that knows nothing of them does not know the node's place either, and is told them
    again. To be called after all other writes: it holds the node's row.
    """
    _append(connection, node, {(ChangeKind.RESULTS, ""): []}, now)


def _keys_of(link: DocumentLink) -> tuple[bytes, bytes]:
    return link.document.subject_key, link.linked_document.subject_key


def give_notices_of(connection: Connection, lab: str, reports: Sequence[tuple[str, int]], now: Instant) -> None:
    """As `give_notices`, of reports of which only number and revision are at hand."""
    if not reports:
        return
    numbers = [number for number, _ in reports]
    query = select(_keys.c.report_number, _keys.c.subject_key).where(
        _keys.c.lab == lab, _keys.c.report_number.in_(numbers)
    )
    subject_keys = {row.report_number: row.subject_key for row in connection.execute(query)}
    changed = [ChangedReport(lab, *report, subject_keys[report[0]]) for report in reports]
    give_notices(connection, changed, now)


def _append(
    connection: Connection, node: str, told: dict[tuple[ChangeKind, str], list[tuple[str, int]]], now: Instant
) -> None:
    count = len(told)
    raised = update(_nodes).where(_nodes.c.node == node).values(newest_notice=_nodes.c.newest_notice + count)
    newest = connection.execute(raised.returning(_nodes.c.newest_notice)).scalar()
    if newest is None:
        return
    rows = [
        {"node": node, "number": number, "kind": kind, "lab": lab, "reports": pack_reports(reports), "commit_time": now}
        for number, ((kind, lab), reports) in enumerate(sorted(told.items()), start=newest - count + 1)
    ]
    connection.execute(insert(_notices), rows)


def is_anybody_followed(connection: Connection) -> bool:
    """Whether a commit has to say whose results it wrote; whoever begins to follow from here on sees the commit."""
    if connection.dialect.name == "postgresql":
        # Before the look and not with it: what the look does not see was followed after the lock was there to be seen.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock_shared({FOLLOWING_LOCK})")
    return connection.execute(select(literal(1)).select_from(_followed).limit(1)).first() is not None


def _find_followers(connection: Connection, subject_keys: Collection[bytes]) -> dict[bytes, list[str]]:
    """Who follows these persons."""
    keys = list(subject_keys)
    found: dict[bytes, list[str]] = {}
    if connection.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        statement = "SELECT subject_key, node FROM followed_subjects WHERE subject_key = ANY (%b::bytea[])"
        for key, node in driver.execute(statement, (keys,), binary=True):
            found.setdefault(key, []).append(node)
    else:
        for start in range(0, len(keys), 500):
            some = select(_followed.c.subject_key, _followed.c.node)
            for key, node in connection.execute(some.where(_followed.c.subject_key.in_(keys[start : start + 500]))):
                found.setdefault(key, []).append(node)
    return found


def _find_homes(connection: Connection, usccs: Collection[str]) -> dict[str, list[str]]:
    """Which nodes have registered these laboratories."""
    homes = tables.lab_homes
    found: dict[str, list[str]] = {}
    for uscc, node in connection.execute(select(homes.c.uscc, homes.c.node).where(homes.c.uscc.in_(usccs))):
        found.setdefault(uscc, []).append(node)
    return found


def open_watch(connection: Connection, node: str, place: NoticePlace) -> None:
    """Begin after a place and forget what is dealt with, but for its last notice: by that the place is known again.

    Raises:
        OutOfRange: CURSOR_TOO_OLD, the place is not of these notices, or some after it are no longer kept.
    """
    if place.number:
        its = (_notices.c.node == node, _notices.c.number == place.number)
        commit_time = connection.execute(select(_notices.c.commit_time).where(*its)).scalar()
        if commit_time is None or commit_time != place.commit_time:
            raise _too_old(connection, node)
    connection.execute(delete(_notices).where(_notices.c.node == node, _notices.c.number < place.number))


def _too_old(connection: Connection, node: str) -> OutOfRange:
    query = select(_notices.c.commit_time).where(_notices.c.node == node).order_by(_notices.c.number).limit(1)
    oldest = connection.execute(query).scalar()
    return OutOfRange(
        "CURSOR_TOO_OLD",
        "notices after this cursor are not kept, or it is not of these; follow everybody again and begin without one",
        metadata={} if oldest is None else {"oldest": format_instant(oldest)},
    )


def newest_numbers(connection: Connection) -> dict[str, int]:
    """The number of the newest notice to each node."""
    return {row.node: row.newest_notice for row in connection.execute(select(_nodes.c.node, _nodes.c.newest_notice))}


def read_notices(connection: Connection, node: str, after: int) -> list[Notice]:
    """What comes after a number, as much as a watcher takes at once."""
    query = select(_notices).where(_notices.c.node == node, _notices.c.number > after)
    notices = []
    for row in connection.execute(query.order_by(_notices.c.number).limit(PAGE)).all():
        entry = Entry(0, row.number, row.commit_time, row.lab, unpack_reports(row.reports), ChangeKind(row.kind))
        notices.append(Notice(NoticePlace(row.number, row.commit_time), list(changes_of(connection, entry))))
    return notices
