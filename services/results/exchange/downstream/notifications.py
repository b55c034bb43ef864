"""Notifications of the nation to its nodes: changes to what they subscribe to, missing reports of their laboratories.

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
from services.results.exchange.model import Change, NotificationPosition

SUBSCRIPTION_LOCK = 0x48755466
"""Key of the advisory lock that a commit shares while it looks up subscribers: a node that subscribes waits for it."""
PAGE = 50
"""Notifications that a watcher reads at once."""

_nodes = tables.nodes
_notifications = tables.notifications
_subscriptions = tables.subscriptions


class Notification(NamedTuple):
    """One notification with its changes: fewer where retention has removed some since, none for a subscription."""

    position: NotificationPosition
    changes: Sequence[Change]


def notify_nodes(connection: Connection, changes: Sequence[LoggedChange], now: Instant) -> None:
    """Tell nodes of changes: those that subscribe to its subjects, those that have registered its laboratories.

    A subscriber of the nation's change log. A node is not told of what it sent. Where no node subscribes to anybody it
    costs one look.
    """
    told: defaultdict[str, defaultdict[tuple[ChangeKind, str], list[tuple[str, int]]]]
    told = defaultdict(lambda: defaultdict(list))
    of_subjects = [change for change in changes if change.subject_keys]
    if of_subjects and has_subscriptions(connection):
        subscribers = _find_subscribers(connection, {key for change in of_subjects for key in change.subject_keys})
        for change in of_subjects if subscribers else ():
            for node, name in _pair_with_subscribers(change, subscribers):
                if node != change.source:
                    told[node][change.kind, change.lab].append(name)
    missing = [change for change in changes if change.kind is ChangeKind.MISSING_REPORTS]
    homes = _find_homes(connection, {change.lab for change in missing}) if missing else {}
    for change in missing:
        for node in homes.get(change.lab, ()):
            if node != change.source:
                told[node][change.kind, change.lab].extend(change.names)
    for node in sorted(told):
        _append(connection, node, told[node], now)


def _pair_with_subscribers(
    change: LoggedChange, subscribers: Mapping[bytes, Sequence[str]]
) -> Iterator[tuple[str, tuple[str, int]]]:
    """Each name of a change with the nodes that subscribe to its subject; a link once for each node."""
    if change.kind is ChangeKind.LINKS:
        (name,) = change.names
        for node in {node for key in change.subject_keys for node in subscribers.get(key, ())}:
            yield node, name
    else:
        for name, key in zip(change.names, change.subject_keys, strict=True):
            for node in subscribers.get(key, ()):
                yield node, name


def note_subscription(connection: Connection, node: str, now: Instant) -> None:
    """Let an empty notification stand for subjects that a node subscribes to from now on.

    A nation restored from a copy without the subscription does not know the node's position either, so the node
    subscribes again. To be called after all other writes: it holds the node's row.
    """
    _append(connection, node, {(ChangeKind.RESULTS, ""): []}, now)


def _append(
    connection: Connection, node: str, told: dict[tuple[ChangeKind, str], list[tuple[str, int]]], now: Instant
) -> None:
    count = len(told)
    raised = (
        update(_nodes).where(_nodes.c.node == node).values(newest_notification=_nodes.c.newest_notification + count)
    )
    newest = connection.execute(raised.returning(_nodes.c.newest_notification)).scalar()
    if newest is None:
        return
    rows = [
        {"node": node, "number": number, "kind": kind, "lab": lab, "reports": pack_reports(reports), "commit_time": now}
        for number, ((kind, lab), reports) in enumerate(sorted(told.items()), start=newest - count + 1)
    ]
    connection.execute(insert(_notifications), rows)


def has_subscriptions(connection: Connection) -> bool:
    """Whether a commit has to be matched with subscribers. A node that subscribes from here on sees the commit."""
    if connection.dialect.name == "postgresql":
        # Before the query and not with it: a subscription that the query misses was made when the lock could be seen.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock_shared({SUBSCRIPTION_LOCK})")
    return connection.execute(select(literal(1)).select_from(_subscriptions).limit(1)).first() is not None


def _find_subscribers(connection: Connection, subject_keys: Collection[bytes]) -> dict[bytes, list[str]]:
    """The nodes that subscribe to each of these subjects."""
    keys = list(subject_keys)
    found: dict[bytes, list[str]] = {}
    if connection.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        statement = "SELECT subject_key, node FROM subscriptions WHERE subject_key = ANY (%b::bytea[])"
        for key, node in driver.execute(statement, (keys,), binary=True):
            found.setdefault(key, []).append(node)
    else:
        for start in range(0, len(keys), 500):
            some = select(_subscriptions.c.subject_key, _subscriptions.c.node)
            for key, node in connection.execute(
                some.where(_subscriptions.c.subject_key.in_(keys[start : start + 500]))
            ):
                found.setdefault(key, []).append(node)
    return found


def _find_homes(connection: Connection, usccs: Collection[str]) -> dict[str, list[str]]:
    """Which nodes have registered these laboratories."""
    homes = tables.lab_homes
    found: dict[str, list[str]] = {}
    for uscc, node in connection.execute(select(homes.c.uscc, homes.c.node).where(homes.c.uscc.in_(usccs))):
        found.setdefault(uscc, []).append(node)
    return found


def open_watch(connection: Connection, node: str, position: NotificationPosition) -> None:
    """Begin after a position. Delete what is dealt with except the last notification, which identifies the position.

    Raises:
        OutOfRange: CURSOR_TOO_OLD, the position is not of these notifications, or some after it are no longer kept.
    """
    if position.number:
        its = (_notifications.c.node == node, _notifications.c.number == position.number)
        commit_time = connection.execute(select(_notifications.c.commit_time).where(*its)).scalar()
        if commit_time is None or commit_time != position.commit_time:
            raise _too_old(connection, node)
    connection.execute(
        delete(_notifications).where(_notifications.c.node == node, _notifications.c.number < position.number)
    )


def _too_old(connection: Connection, node: str) -> OutOfRange:
    query = (
        select(_notifications.c.commit_time)
        .where(_notifications.c.node == node)
        .order_by(_notifications.c.number)
        .limit(1)
    )
    oldest = connection.execute(query).scalar()
    return OutOfRange(
        "CURSOR_TOO_OLD",
        "notifications after this cursor are not kept, or it is not of these; "
        "subscribe to every subject again and begin without a cursor",
        metadata={} if oldest is None else {"oldest": format_instant(oldest)},
    )


def newest_numbers(connection: Connection) -> dict[str, int]:
    """The number of the newest notification to each node."""
    return {
        row.node: row.newest_notification
        for row in connection.execute(select(_nodes.c.node, _nodes.c.newest_notification))
    }


def read_notifications(connection: Connection, node: str, after: int) -> list[Notification]:
    """What comes after a number, as much as a watcher takes at once."""
    query = select(_notifications).where(_notifications.c.node == node, _notifications.c.number > after)
    notifications = []
    for row in connection.execute(query.order_by(_notifications.c.number).limit(PAGE)).all():
        entry = Entry(0, row.number, row.commit_time, row.lab, unpack_reports(row.reports), ChangeKind(row.kind))
        notifications.append(
            Notification(NotificationPosition(row.number, row.commit_time), list(changes_of(connection, entry)))
        )
    return notifications
