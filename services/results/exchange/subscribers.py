"""Subscriptions to subjects: at the nation those of its nodes, at a node those that it has made itself.

A subscription lasts while anything of the subject is kept where it is known, and at least as long as results are kept
from when it was last asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from services.domain.instant import Instant
from services.results.documents.store import find_linked
from services.results.exchange import tables
from services.results.records.tables import results

_subscriptions = tables.subscriptions
_results = results
_STEP = 1_000
"""Subjects that one transaction looks at."""


def add_subscriptions(connection: Connection, node: str, subject_keys: Sequence[bytes], now: Instant) -> None:
    """Subscribe to these keys from now on, or renew the subscriptions."""
    if not subject_keys:
        return
    rows = [{"subject_key": key, "node": node, "subscribe_time": now} for key in sorted(set(subject_keys))]
    new = sqlite.insert(_subscriptions) if connection.dialect.name == "sqlite" else postgresql.insert(_subscriptions)
    connection.execute(
        new.values(rows).on_conflict_do_update(
            index_elements=[_subscriptions.c.subject_key, _subscriptions.c.node],
            set_={"subscribe_time": new.excluded.subscribe_time},
        )
    )


def end_subscriptions(connection: Connection, horizon: Instant, after: bytes) -> bytes | None:
    """End the next subscriptions that were last asked for before the horizon, to subjects of which nothing is kept.

    What is kept by any of a subject's documents counts. The last key that was looked at; None at the end.
    """
    old = select(_subscriptions.c.subject_key).where(
        _subscriptions.c.subject_key > after, _subscriptions.c.subscribe_time < horizon
    )
    found = connection.execute(old.distinct().order_by(_subscriptions.c.subject_key).limit(_STEP)).scalars()
    keys: list[bytes] = list(found)
    if not keys:
        return None
    linked = find_linked(connection, keys)
    subjects = {key: linked.get(key, [key]) for key in keys}
    theirs = {each for subject in subjects.values() for each in subject}
    query = select(_results.c.subject_key).where(
        _results.c.subject_key.in_(theirs), _results.c.reference_time >= horizon
    )
    kept = set(connection.execute(query.distinct()).scalars())
    ended = [key for key, subject in subjects.items() if kept.isdisjoint(subject)]
    if ended:
        # Unless it was asked for again meanwhile.
        its = (_subscriptions.c.subject_key.in_(ended), _subscriptions.c.subscribe_time < horizon)
        connection.execute(delete(_subscriptions).where(*its))
    return keys[-1]


def list_subscribed(connection: Connection, node: str, after: bytes, limit: int) -> list[bytes]:
    """Keys that a node subscribes to, in their order, from the one after `after` on."""
    query = select(_subscriptions.c.subject_key).where(
        _subscriptions.c.node == node, _subscriptions.c.subject_key > after
    )
    return list(connection.execute(query.order_by(_subscriptions.c.subject_key).limit(limit)).scalars())
