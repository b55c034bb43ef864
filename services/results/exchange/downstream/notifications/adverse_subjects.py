"""Marks subjects with adverse results, and names each subject to the nodes below from which its results came.

A mark is a subscription of this node itself to the subject. The query that finds subscribers also finds marks. A
further statement is therefore needed only for a batch with an adverse result, or with a node's first result of a marked
subject.

Two concurrent commits, one with a mark and one with a node's first result, must not miss each other. A commit that
marks a subject for the first time therefore waits for all commits that looked up subscribers before it. Commits that
look up subscribers later see the mark. After the mark, the node is subscribed and is notified of all further changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from services.domain.instant import Instant
from services.domain.region import NATION
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.documents.store import find_linked, find_sources
from services.results.exchange import tables
from services.results.exchange.subscribers import add_rows, find_subscribers
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit

_subscriptions = tables.subscriptions


class Here(NamedTuple):
    """The node that notifies others.

    Attributes:
        node: the region of this node.
        child_of: takes the region of a node. Returns the node that replicates to this one and is that node or covers
            it; empty if there is none.
    """

    node: str
    child_of: Callable[[str], str]

    def children_of(self, origins: Collection[str]) -> set[str]:
        """Return the nodes that replicate to this one and are one of the origins, or cover one of them."""
        return {child for origin in origins if (child := self.child_of(origin))}


def lock_if_newly_adverse(connection: Connection, changes: Sequence[LoggedChange], own: str = NATION) -> set[bytes]:
    """Return the subjects of adverse results that are not marked yet. If there are any, wait for other commits.

    Without adverse results this function costs nothing. Call it before subscribers are looked up.
    """
    adverse = {key for change in changes for key in change.adverse_keys}
    if not adverse:
        return set()
    known = find_subscribers(connection, adverse)
    unmarked = {key for key in adverse if own not in known.get(key, ())}
    if unmarked:
        lock_until_commit(connection, AdvisoryLock.SUBSCRIPTION)
    return unmarked


Subscriptions = set[tuple[bytes, str]]
"""Subject keys, each with a node that subscribes to it."""


def find_joined(
    connection: Connection, changes: Sequence[LoggedChange], others: Mapping[bytes, bytes], here: Here
) -> Subscriptions:
    """Return the subscriptions to add, so that each subscriber to one key of a document subscribes to both keys.

    Only documents whose other keys came with the changes are considered. The other keys are not stored, and later
    corrections come without them. One node may have results under the first key, and another node under the second key.
    Both nodes are therefore subscribed to both keys, and each looks up both keys in its own store. `others` are the
    other keys of all the changes.
    """
    if not others:
        return set()
    known = find_subscribers(connection, {*others, *others.values()})
    rows: Subscriptions = set()
    for key, other in others.items():
        rows |= {(key, node) for node in known.get(other, ())} | {(other, node) for node in known.get(key, ())}
    sources = find_sources(connection, set(others.values()))
    for change in changes:
        for key, other in change.other_keys.items():
            elsewhere = here.children_of(sources.get(other, ())) - {change.source}
            rows |= {(key, node) for node in elsewhere}
            sender = here.child_of(change.source)
            if sender and any(here.child_of(origin) != sender for origin in sources.get(other, ())):
                rows.add((other, sender))
    return rows


def with_joined(subscribers: Mapping[bytes, Collection[str]], joined: Subscriptions) -> dict[bytes, Collection[str]]:
    """Return the subscribers of each key, including subscribers that are not stored yet."""
    found: dict[bytes, Collection[str]] = dict(subscribers)
    for key, node in joined:
        found[key] = {*found.get(key, ()), node}
    return found


def subscribe_adverse(
    connection: Connection,
    changes: Sequence[LoggedChange],
    unmarked: Collection[bytes],
    subscribers: Mapping[bytes, Collection[str]],
    others: Mapping[bytes, bytes],
    joined: Subscriptions,
    now: Instant,
    here: Here,
) -> dict[str, list[bytes]]:
    """Mark subjects and subscribe the nodes from which their results came.

    Return the keys that are to be named to each node.

    If all results of a subject are of one document and came from one node, the subject is not named to that node,
    because the node has all results already. A document is named by both its keys.

    All subscriptions are stored by one statement, so that two transactions lock them in the same order.

    Args:
        connection: the database of this node.
        changes: the changes of the commit.
        unmarked: the subjects of adverse results that are not marked yet.
        subscribers: the stored subscribers of each key.
        others: the keys under the other key version that came with the changes.
        joined: further subscriptions to store.
        now: the instant of the commit.
        here: this node.
    """
    concerned = set(unmarked)
    if marked := {key for key, nodes in subscribers.items() if here.node in nodes}:
        for change in changes:
            concerned |= _find_unsubscribed(change, marked, subscribers)
    if not concerned:
        add_rows(connection, joined, now)
        return {}
    twins = {**{other: key for key, other in others.items()}, **others}
    pairs = [(key, twins[key]) for key in sorted(concerned) if key in twins]
    linked = find_linked(connection, sorted(concerned), pairs)
    subjects = {frozenset(linked.get(key) or ((key, twins[key]) if key in twins else (key,))) for key in concerned}
    documents = {key for subject in subjects for key in subject}
    known = subscribers if documents <= concerned else with_joined(find_subscribers(connection, documents), joined)
    sources = find_sources(connection, documents)
    rows = joined | {(key, here.node) for key in documents}
    named: defaultdict[str, set[bytes]] = defaultdict(set)
    for subject in subjects:
        origins = {here.child_of(node) for key in subject for node in sources.get(key, ())}
        for node in origins - {""}:
            if all(node in known.get(key, ()) for key in subject):
                continue
            rows |= {(key, node) for key in subject}
            if len(origins) > 1 or len(subject) > 1:
                with_results = {key for key in subject if node in here.children_of(sources.get(key, ()))}
                named[node] |= with_results | {twins[key] for key in with_results if key in twins}
    add_rows(connection, rows, now)
    return {node: sorted(keys) for node, keys in named.items()}


def _find_unsubscribed(
    change: LoggedChange, marked: Collection[bytes], subscribers: Mapping[bytes, Collection[str]]
) -> set[bytes]:
    """Return the marked subjects of a change to which the sender does not subscribe.

    If either document of a link is marked, return both. For a change from the node above, nothing is returned, because
    the nodes below that have results of its subject subscribe to the subject already.
    """
    keys = set(change.subject_keys)
    if change.kind is ChangeKind.LINKS:
        return set() if keys.isdisjoint(marked) else keys
    if change.source in ("", NATION):
        return set()
    return {key for key in keys.intersection(marked) if change.source not in subscribers[key]}


def find_marked(connection: Connection, node: str, own: str = NATION) -> list[bytes]:
    """Return all adverse subjects to which a node is subscribed."""
    marks = _subscriptions.alias("marks")
    query = (
        select(_subscriptions.c.subject_key)
        .join(marks, marks.c.subject_key == _subscriptions.c.subject_key)
        .where(_subscriptions.c.node == node, marks.c.node == own)
    )
    return list(connection.execute(query.order_by(_subscriptions.c.subject_key)).scalars())
