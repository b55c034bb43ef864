"""Notifications to the nodes below: changes to subscribed subjects, adverse subjects, missing reports.

A transaction that notifies a node takes the next numbers from the node's row, and locks the row until it commits.
Numbers are therefore in the order of commits. A watcher that has received number 7 has received number 6 too. All
transactions lock nodes in the same order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, literal, select, union, update

from services.domain.instant import Instant
from services.domain.region import NATION
from services.results.changelog.model import ChangeKind, Entry, LoggedChange
from services.results.changelog.packing import pack_reports, unpack_reports
from services.results.documents.key_pairs import find_twins
from services.results.documents.removals import find_ended
from services.results.exchange import tables
from services.results.exchange.downstream.nodes import add_node
from services.results.exchange.downstream.notifications.adverse_subjects import (
    Here,
    find_joined,
    find_marked,
    lock_if_newly_adverse,
    subscribe_adverse,
    with_joined,
)
from services.results.exchange.downstream.notifications.copied_items import leave_out_other_items
from services.results.exchange.homes.find import deepest_node
from services.results.exchange.homes.register import find_registrants
from services.results.exchange.load import LABS_AT_ONCE, changes_of
from services.results.exchange.model import Change, NotificationPosition, Replica, SubscriptionPosition
from services.results.exchange.subscribers import find_subscribers
from services.results.exchange.withheld import take_withheld
from services.results.labs.copies import find_known
from services.results.labs.queries import find_labs
from services.results.labs.tables import lab_copies
from services.results.labs.tables import labs as lab_register
from services.results.missing_reports.answers import list_answered
from services.results.missing_reports.model import MissingReport
from services.results.missing_reports.store import find_closed, list_passed_on
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit, share_until_commit
from services.storage.life import current_life

PAGE = 50
"""The most notifications that one read returns."""

LINKS_AT_ONCE = 5_000
"""The most links in one notification of `note_links`, and in an answer to a subscription. They take about 800 KB."""

_FOR_ALL_NODES = frozenset({ChangeKind.LABS, ChangeKind.MISSING_REPORT_ANSWERS})
"""Kinds of changes of which every node below is notified, except the node that sent the change."""

_nodes = tables.nodes
_notifications = tables.notifications
_subscriptions = tables.subscriptions


class Notification(NamedTuple):
    """A notification, with those of its changes that are still stored.

    A notification has no changes if it is for a new subscription, or of a kind that the node does not know.
    """

    position: NotificationPosition
    changes: Sequence[Change]
    kind: ChangeKind


def notify_nodes(connection: Connection, changes: Sequence[LoggedChange], now: Instant, own: str = NATION) -> None:
    """Notify nodes of changes to subscribed subjects, adverse subjects, and missing reports of their laboratories.

    All nodes are notified of laboratories and of their answers to missing reports. Each node is notified of removals of
    its own links and of links of the nodes below it. A node is not notified of changes that it sent itself. While there
    are no subscriptions, the function costs two queries. The change log of a node with nodes below calls the function.
    `own` is the region of this node.
    """
    here = Here(own, _Children(connection).child_of)
    by_node: defaultdict[str, defaultdict[tuple[ChangeKind, str], list[tuple[str, int]]]]
    by_node = defaultdict(lambda: defaultdict(list))
    of_subjects = [change for change in changes if change.subject_keys]
    unmarked = lock_if_newly_adverse(connection, of_subjects, own)
    # The lock of has_subscriptions is also needed if there are other keys.
    others = {key: other for change in of_subjects for key, other in change.other_keys.items()}
    if of_subjects and (unmarked or has_subscriptions(connection) or others):
        joined = find_joined(connection, of_subjects, others, here)
        keys = {key for change in of_subjects for key in change.subject_keys}
        subscribers = with_joined(find_subscribers(connection, keys), joined)
        named_to = subscribe_adverse(connection, of_subjects, unmarked, subscribers, others, joined, now, here)
        for node, named in named_to.items():
            by_node[node][ChangeKind.ADVERSE_SUBJECTS, ""].extend((key.hex(), 0) for key in named)
        for change in of_subjects if subscribers else ():
            for node, name in _pair_with_subscribers(change, subscribers):
                if node not in (change.source, NATION, own):
                    by_node[node][change.kind, change.lab].append(name)
    for_all = [change for change in changes if change.kind in _FOR_ALL_NODES]
    nodes = connection.execute(select(_nodes.c.node)).scalars().all() if for_all else ()
    for change in for_all:
        for node in nodes:
            if node != change.source:
                by_node[node][change.kind, change.lab].extend(change.names)
    for change in changes:
        if change.kind is ChangeKind.LINKS and change.maker not in ("", NATION, own, change.source):
            child = here.child_of(change.maker)
            if child and child != change.source:
                of_maker = by_node[child][change.kind, change.lab]
                of_maker += [name for name in change.names if name not in of_maker]
    missing = [change for change in changes if change.kind is ChangeKind.MISSING_REPORTS]
    for change in missing:
        if change.maker and (child := here.child_of(change.maker)):
            by_node[child][change.kind, change.lab].extend(change.names)
    homes = find_registrants(connection, {change.lab for change in missing})
    for change in missing:
        for node in homes.get(change.lab, ()):
            if node != change.source and node != here.child_of(change.maker):
                by_node[node][change.kind, change.lab].extend(change.names)
    for node, report in _find_closings(connection, changes, here):
        by_node[node][ChangeKind.MISSING_REPORTS, report.lab].append((report.report_number, 0))
    for node in sorted(by_node):
        _append(connection, node, by_node[node], now)


def name_stored(connection: Connection, subject_keys: Collection[bytes], now: Instant, own: str) -> None:
    """Mark subjects with stored positives, and name each subject to the nodes below from which its results came.

    The commit of a positive does the same for a subject that is not marked yet. Subjects that are marked already cost
    one query.
    """
    known = find_subscribers(connection, subject_keys)
    unmarked = {key for key in subject_keys if own not in known.get(key, ())}
    if not unmarked:
        return
    # A commit that looked for marks before this lock was granted has stored its results by now. A later commit sees the
    # marks.
    lock_until_commit(connection, AdvisoryLock.SUBSCRIPTION)
    here = Here(own, _Children(connection).child_of)
    subscribers = find_subscribers(connection, unmarked)
    named_to = subscribe_adverse(connection, (), unmarked, subscribers, {}, set(), now, here)
    for node, keys in sorted(named_to.items()):
        _append(connection, node, {(ChangeKind.ADVERSE_SUBJECTS, ""): [(key.hex(), 0) for key in keys]}, now)


def _find_closings(
    connection: Connection, changes: Sequence[LoggedChange], here: Here
) -> list[tuple[str, MissingReport]]:
    """Return the missing reports whose record has come, each with the nodes to notify.

    These are the nodes that have registered the laboratory, and the node where the report was shown, without the node
    that sent the record.
    """
    names: defaultdict[str, set[str]] = defaultdict(set)
    sources: dict[str, str] = {}
    for change in changes:
        if change.kind is ChangeKind.RESULTS:
            names[change.lab].update(number for number, _ in change.names)
            sources[change.lab] = change.source
    closed = find_closed(connection, names)
    homes = find_registrants(connection, {report.lab for report in closed})
    return [
        (node, report)
        for report in closed
        for node in sorted({*homes.get(report.lab, ()), here.child_of(report.raising_node)} - {sources[report.lab], ""})
    ]


def _pair_with_subscribers(
    change: LoggedChange, subscribers: Mapping[bytes, Collection[str]]
) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield each name of a change with each node that subscribes to the subject of the name.

    A link is yielded once for a node.
    """
    if change.kind is ChangeKind.LINKS:
        (name,) = change.names
        for node in {node for key in change.subject_keys for node in subscribers.get(key, ())}:
            yield node, name
    else:
        for name, key in zip(change.names, change.subject_keys, strict=True):
            for node in subscribers.get(key, ()):
                yield node, name


def note_subscription(connection: Connection, node: str, now: Instant) -> SubscriptionPosition:
    """Add an empty notification for a subscription of a registered node, and return its position.

    If this node is restored from a copy without the subscription, the copy does not have the number either. This node
    then rejects the position, and the node subscribes again. Call this after all other writes of the transaction,
    because it locks the node's row.
    """
    number = _append(connection, node, {(ChangeKind.RESULTS, ""): []}, now)
    assert number is not None, "the node is not registered"
    life: str = connection.execute(select(current_life(connection, _notifications))).scalar_one()
    return SubscriptionPosition(number, now, life)


def note_links(connection: Connection, node: str, link_ids: Sequence[str], now: Instant) -> None:
    """Notify a node of links, in notifications of LINKS_AT_ONCE links each."""
    for start in range(0, len(link_ids), LINKS_AT_ONCE):
        some = [(link_id, 0) for link_id in link_ids[start : start + LINKS_AT_ONCE]]
        _append(connection, node, {(ChangeKind.LINKS, ""): some}, now)


def repeat_missed(connection: Connection, node: str, now: Instant, own: str = NATION) -> None:
    """Notify a node that begins without a cursor of changes that no subscription brings.

    These are all laboratories, and their answers to missing reports. If the node has missed notifications, it is also
    notified of all its adverse subjects, of its own links that have ended or whose end was requested, and of the
    missing reports of its laboratories, including closed ones.
    """
    # A node may watch before it replicates for the first time.
    add_node(connection, node, now, own)
    registers = union(select(lab_register.c.uscc), select(lab_copies.c.uscc)).subquery()
    usccs = connection.execute(select(registers.c.uscc).order_by(registers.c.uscc)).scalars().all()
    names: dict[tuple[ChangeKind, str], list[tuple[str, int]]] = {(ChangeKind.LABS, ""): [(uscc, 0) for uscc in usccs]}
    if has_missed(connection, node):
        names[ChangeKind.ADVERSE_SUBJECTS, ""] = [(key.hex(), 0) for key in find_marked(connection, node, own)]
        names[ChangeKind.LINKS, ""] = [(link_id, 0) for link_id in find_ended(connection, node)]
        homes = tables.lab_homes
        at_node = connection.execute(select(homes.c.uscc).where(homes.c.node == node)).scalars().all()
        for lab, numbers in list_passed_on(connection, at_node).items():
            names[ChangeKind.MISSING_REPORTS, lab] = [(number, 0) for number in numbers]
    names |= _name_answers(connection)
    if found := {key: reports for key, reports in names.items() if reports}:
        _append(connection, node, found, now)


def _append(
    connection: Connection, node: str, names: dict[tuple[ChangeKind, str], list[tuple[str, int]]], now: Instant
) -> int | None:
    """Add notifications and return the number of the last one; None if the node is not registered."""
    count = len(names)
    raised = (
        update(_nodes).where(_nodes.c.node == node).values(newest_notification=_nodes.c.newest_notification + count)
    )
    newest = connection.execute(raised.returning(_nodes.c.newest_notification)).scalar()
    if newest is None:
        return None
    rows = [
        {"node": node, "number": number, "kind": kind, "lab": lab, "reports": pack_reports(reports), "commit_time": now}
        for number, ((kind, lab), reports) in enumerate(sorted(names.items()), start=newest - count + 1)
    ]
    connection.execute(insert(_notifications), rows)
    return int(newest)


def has_missed(connection: Connection, node: str) -> bool:
    """Return whether a node that begins without a cursor has missed notifications that are no longer kept."""
    newest = connection.execute(select(_nodes.c.newest_notification).where(_nodes.c.node == node)).scalar()
    oldest = connection.execute(select(func.min(_notifications.c.number)).where(_notifications.c.node == node)).scalar()
    return bool(newest) and oldest != 1


def has_subscriptions(connection: Connection) -> bool:
    """Return whether there are subscriptions. A node that subscribes later waits for the current transaction."""
    # The lock is taken before the query. A subscription that the query misses commits later, and waits for this lock.
    share_until_commit(connection, AdvisoryLock.SUBSCRIPTION)
    return connection.execute(select(literal(1)).select_from(_subscriptions).limit(1)).first() is not None


class _Children:
    """The nodes that replicate to this one, read when they are first needed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._nodes: set[str] | None = None

    def child_of(self, origin: str) -> str:
        """Return the node that replicates to this one and is the given node or covers it; empty if there is none."""
        if not origin or origin == NATION:
            return ""
        if self._nodes is None:
            self._nodes = set(self._connection.execute(select(_nodes.c.node)).scalars())
        return origin if origin in self._nodes else deepest_node(origin, self._nodes)


def _find_changes(connection: Connection, entry: Entry, own: str) -> list[Change]:
    """Return the changes of an entry. Laboratories are those of the whole country, each with its home.

    Their contacts are left out, because only the nodes above a laboratory need them.
    """
    if entry.kind is not ChangeKind.LABS:
        return list(changes_of(connection, entry))
    names = [name for name, _ in entry.reports if name]
    find = find_labs if own == NATION else find_known
    found: list[Change] = []
    for start in range(0, len(names), LABS_AT_ONCE):
        found += [replace(lab, contact=None) for lab in find(connection, names[start : start + LABS_AT_ONCE]).values()]
    return found


def _with_other_keys(connection: Connection, entries: Sequence[Entry], own: str) -> list[list[Change]]:
    """Return the changes of entries. Results of documents with links have both keys, if this node knows them."""
    found = [_find_changes(connection, entry, own) for entry in entries]
    keys = {one.result.subject_key for changes in found for one in changes if isinstance(one, Replica)}
    twins = find_twins(connection, sorted(keys))
    if not twins:
        return found
    return [
        [
            one._replace(other_key=twins.get(one.result.subject_key, b"")) if isinstance(one, Replica) else one
            for one in changes
        ]
        for changes in found
    ]


def repeat_withheld(connection: Connection, node: str, unknown: Collection[ChangeKind], now: Instant) -> None:
    """Notify a node again of changes that were withheld from it and of kinds that it knows now.

    `unknown` are the kinds that the node does not know.
    """
    if ChangeKind.MISSING_REPORT_ANSWERS in take_withheld(connection, node, unknown) and (
        names := _name_answers(connection)
    ):
        _append(connection, node, names, now)


def _name_answers(connection: Connection) -> dict[tuple[ChangeKind, str], list[tuple[str, int]]]:
    """Return the numbers of all answered missing reports, by laboratory."""
    answered = list_answered(connection).items()
    return {(ChangeKind.MISSING_REPORT_ANSWERS, lab): [(number, 0) for number in numbers] for lab, numbers in answered}


def read_notifications(
    connection: Connection, node: str, after: int, own: str = NATION, unknown: Collection[ChangeKind] = ()
) -> list[Notification]:
    """Return at most PAGE notifications to a node after a number.

    Results of items that are not copied to nodes are left out. Notifications of kinds that the node does not know
    (`unknown`) have no changes.
    """
    query = select(_notifications).where(_notifications.c.node == node, _notifications.c.number > after)
    entries = [
        Entry(0, row.number, row.commit_time, row.lab, unpack_reports(row.reports), ChangeKind(row.kind))
        for row in connection.execute(query.order_by(_notifications.c.number).limit(PAGE)).all()
    ]
    return [
        Notification(
            NotificationPosition(entry.sequence, entry.commit_time),
            () if entry.kind in unknown else leave_out_other_items(connection, node, changes),
            entry.kind,
        )
        for entry, changes in zip(entries, _with_other_keys(connection, entries, own), strict=True)
    ]
