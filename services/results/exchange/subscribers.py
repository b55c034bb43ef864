"""Subscriptions to subjects.

A node with nodes below it stores their subscriptions. Rows with its own region mark adverse subjects. A node with a
node above it stores its own subscriptions at that node in rows of NATION. A node in the middle has all these rows.

A subscription lasts while any result of the subject is kept here, and for at least one retention period after it was
made or last renewed.

The node above adds an empty notification for each subscription. If the node above is restored from a copy without the
subscription, the copy does not know the notification. This node therefore stores the notification's position with the
subscription, and states it in each watch, until the node above has accepted it in a watch whose cursor is at or beyond
it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, case, delete, select

from services.domain.instant import Instant
from services.results.documents.store import find_linked
from services.results.exchange import tables
from services.results.exchange.model import StoredPosition, SubscriptionPosition
from services.results.records.by_key import fetch_by_keys
from services.results.records.tables import results
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.upsert import insert_if_absent, insert_or_update

_subscriptions = tables.subscriptions
_positions = tables.subscription_positions
_results = results
MAX_STATED = 1_000
"""The most positions in one watch, as the contract allows. There is one for each life of the database of the node above
in which this node has subscribed since its last watch."""
_STEP = 1_000
"""The most subjects that one transaction checks."""
MARKING = 1
"""The key of the only row of `marking_positions`."""


def add_subscriptions(connection: Connection, node: str, subject_keys: Sequence[bytes], now: Instant) -> None:
    """Subscribe a node to these keys, or renew its subscriptions."""
    add_rows(connection, {(key, node) for key in subject_keys}, now)


def add_rows(connection: Connection, pairs: Collection[tuple[bytes, str]], now: Instant) -> None:
    """Make or renew subscriptions of many nodes to many subjects. Rows are always locked in the same order."""
    if not pairs:
        return
    rows = [{"subject_key": key, "node": node, "subscribe_time": now} for key, node in sorted(pairs)]
    new = insert_or_update(connection, _subscriptions)
    renewed = new.on_conflict_do_update(
        index_elements=[_subscriptions.c.subject_key, _subscriptions.c.node],
        set_={"subscribe_time": new.excluded.subscribe_time},
    )
    connection.execute(renewed, rows)


def find_subscribers(connection: Connection, subject_keys: Collection[bytes]) -> dict[bytes, list[str]]:
    """Return the nodes that subscribe to each of these subjects.

    If this node's own region is among them, it is a mark.
    """
    statement = "SELECT subject_key, node FROM subscriptions WHERE subject_key"
    query = select(_subscriptions.c.subject_key, _subscriptions.c.node)
    found: dict[bytes, list[str]] = {}
    for key, node in fetch_by_keys(connection, statement, query, _subscriptions.c.subject_key, subject_keys):
        found.setdefault(key, []).append(node)
    return found


def begin_marking(connection: Connection) -> None:
    """Begin to mark stored adverse subjects, when the first node joins below this one (`stored_positives`).

    The lock waits for commits that found no node below. Later commits see the node, and mark their adverse subjects
    themselves. The steps of the marking run after this transaction, so they see all adverse subjects that are not
    marked.
    """
    lock_until_commit(connection, AdvisoryLock.SUBSCRIPTION)
    new = insert_if_absent(connection, tables.marking_positions)
    connection.execute(new.values(marking=MARKING, lab="", report_number=""))


def end_subscriptions(connection: Connection, horizon: Instant, after: bytes) -> tuple[bytes | None, int]:
    """End the next subscriptions that were made or renewed before the horizon, if their subjects have no newer results.

    Results of all documents of a subject count. `after` is the last key that an earlier call checked. Return two
    values: the last key that this call checked (None if no keys are left), and how many subscriptions ended.
    """
    old = select(_subscriptions.c.subject_key).where(
        _subscriptions.c.subject_key > after, _subscriptions.c.subscribe_time < horizon
    )
    found = connection.execute(old.distinct().order_by(_subscriptions.c.subject_key).limit(_STEP)).scalars()
    keys: list[bytes] = list(found)
    if not keys:
        return None, 0
    linked = find_linked(connection, keys)
    subjects = {key: linked.get(key, [key]) for key in keys}
    documents = {each for subject in subjects.values() for each in subject}
    query = select(_results.c.subject_key).where(
        _results.c.subject_key.in_(documents), _results.c.reference_time >= horizon
    )
    kept = set(connection.execute(query.distinct()).scalars())
    ended = [key for key, subject in subjects.items() if kept.isdisjoint(subject)]
    # A subscription that was renewed meanwhile does not end.
    expired = (_subscriptions.c.subject_key.in_(ended), _subscriptions.c.subscribe_time < horizon)
    count = connection.execute(delete(_subscriptions).where(*expired)).rowcount if ended else 0
    return keys[-1], count


def list_subscribed(connection: Connection, node: str, after: bytes, limit: int) -> list[bytes]:
    """Return the keys that a node subscribes to, in ascending order, beginning after `after`."""
    query = select(_subscriptions.c.subject_key).where(
        _subscriptions.c.node == node, _subscriptions.c.subject_key > after
    )
    return list(connection.execute(query.order_by(_subscriptions.c.subject_key).limit(limit)).scalars())


def record_positions(connection: Connection, positions: Collection[SubscriptionPosition]) -> None:
    """Store the positions of subscriptions, in the transaction that stores the subscriptions.

    Of each life of the node above, the greatest number is kept. Call this after all other writes of the transaction,
    because it locks the rows of the lives.
    """
    newest = {one.life: one for one in sorted(positions, key=lambda one: one.number)}
    if not newest:
        return
    rows = [{**newest[life]._asdict(), "stored_count": 1} for life in sorted(newest)]
    new = insert_or_update(connection, _positions)
    is_newer = new.excluded.number > _positions.c.number
    added = new.on_conflict_do_update(
        index_elements=[_positions.c.life],
        set_={
            "number": case((is_newer, new.excluded.number), else_=_positions.c.number),
            "commit_time": case((is_newer, new.excluded.commit_time), else_=_positions.c.commit_time),
            "stored_count": _positions.c.stored_count + 1,
        },
    )
    connection.execute(added, rows)


def list_positions(connection: Connection) -> list[StoredPosition]:
    """Return the stored positions in ascending order, at most MAX_STATED."""
    columns = (_positions.c.number, _positions.c.commit_time, _positions.c.life, _positions.c.stored_count)
    query = select(*columns).order_by(_positions.c.number, _positions.c.life).limit(MAX_STATED)
    return [StoredPosition(SubscriptionPosition(*row[:3]), row.stored_count) for row in connection.execute(query)]


def forget_positions(connection: Connection, stored: Collection[StoredPosition]) -> None:
    """Delete these positions. A position stays if another answer of its life has been stored since it was read.

    That answer may belong to a subscription that the caller does not know of.
    """
    for (number, _, life), count in sorted(stored, key=lambda one: one.position.life):
        unchanged = (_positions.c.number == number, _positions.c.stored_count == count)
        connection.execute(delete(_positions).where(_positions.c.life == life, *unchanged))
