"""What the nation tells its nodes: changes to results that they follow, reminders to their laboratories.

A commit that concerns a node takes the next numbers of the node's row and holds it to its end, so numbers and commits
have one order, and a watcher that has seen 7 has seen 6. Nodes are taken in one order everywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, insert, literal, select, update

from services.domain.errors import OutOfRange
from services.domain.instant import Instant, format_instant
from services.results.changelog.log import pack_reports, unpack_reports
from services.results.changelog.model import ChangeKind, Entry, LoggedChange
from services.results.exchange import tables
from services.results.exchange.load import changes_of
from services.results.exchange.model import Change, NoticePosition

FOLLOWING_LOCK = 0x48755466
"""Of the advisory lock that a commit shares which looks up followers: whoever begins to follow waits for it."""
PAGE = 50
"""Notices that a watcher reads at once."""

_nodes = tables.nodes
_notices = tables.notices
_followed = tables.followed_subjects


class Notice(NamedTuple):
    """One notice with all that it speaks of: less where retention has removed it since, nothing for a following."""

    place: NoticePosition
    changes: Sequence[Change]


def notify_nodes(connection: Connection, changes: Sequence[LoggedChange], now: Instant) -> None:
    """Tell nodes of changes: those that subscribe to its subjects, those that have registered its laboratories.

    A subscriber of the nation's change log. A node is not told of what it sent. Where no node subscribes to anybody it
    costs one look.
    """
    told: defaultdict[str, defaultdict[tuple[ChangeKind, str], list[tuple[str, int]]]]
    told = defaultdict(lambda: defaultdict(list))
    of_subjects = [change for change in changes if change.subject_keys]
    if of_subjects and is_anybody_followed(connection):
        followers = _find_followers(connection, {key for change in of_subjects for key in change.subject_keys})
        for change in of_subjects if followers else ():
            for node, name in _pair_with_subscribers(change, followers):
                if node != change.source:
                    told[node][change.kind, change.lab].append(name)
    missing = [change for change in changes if change.kind is ChangeKind.FOLLOW_UPS]
    homes = _find_homes(connection, {change.lab for change in missing}) if missing else {}
    for change in missing:
        for node in homes.get(change.lab, ()):
            if node != change.source:
                told[node][change.kind, change.lab].extend(change.names)
    for node in sorted(told):
        _append(connection, node, told[node], now)


def _pair_with_subscribers(
    change: LoggedChange, followers: Mapping[bytes, Sequence[str]]
) -> Iterator[tuple[str, tuple[str, int]]]:
    """Each name of a change with the nodes that subscribe to its subject; a link once for each node."""
    if change.kind is ChangeKind.LINKS:
        (name,) = change.names
        for node in {node for key in change.subject_keys for node in followers.get(key, ())}:
            yield node, name
    else:
        for name, key in zip(change.names, change.subject_keys, strict=True):
            for node in followers.get(key, ()):
                yield node, name


def note_following(connection: Connection, node: str, now: Instant) -> None:
    """Let a notice of nothing stand for persons whom a node follows from now on.

    A nation restored from a copy that knows nothing of them does not know the node's place either, and is told them
    again. To be called after all other writes: it holds the node's row.
    """
    _append(connection, node, {(ChangeKind.RESULTS, ""): []}, now)


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


def open_watch(connection: Connection, node: str, place: NoticePosition) -> None:
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
        notices.append(Notice(NoticePosition(row.number, row.commit_time), list(changes_of(connection, entry))))
    return notices
