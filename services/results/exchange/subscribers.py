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

_followed = tables.followed_subjects
_results = results
_STEP = 1_000
"""Subjects that one transaction looks at."""


def add_subscriptions(connection: Connection, node: str, subject_keys: Sequence[bytes], now: Instant) -> None:
    """Follow these keys from now on, or go on following them."""
    if not subject_keys:
        return
    rows = [{"subject_key": key, "node": node, "follow_time": now} for key in sorted(set(subject_keys))]
    new = sqlite.insert(_followed) if connection.dialect.name == "sqlite" else postgresql.insert(_followed)
    connection.execute(
        new.values(rows).on_conflict_do_update(
            index_elements=[_followed.c.subject_key, _followed.c.node],
            set_={"follow_time": new.excluded.follow_time},
        )
    )


def end_subscriptions(connection: Connection, horizon: Instant, after: bytes) -> bytes | None:
    """End the next followings that were last asked for before the horizon, of persons of whom nothing is kept.

    What is kept by any of a person's documents counts. The last key that was looked at; None at the end.
    """
    old = select(_followed.c.subject_key).where(_followed.c.subject_key > after, _followed.c.follow_time < horizon)
    found = connection.execute(old.distinct().order_by(_followed.c.subject_key).limit(_STEP)).scalars()
    keys: list[bytes] = list(found)
    if not keys:
        return None
    linked = find_linked(connection, keys)
    persons = {key: linked.get(key, [key]) for key in keys}
    theirs = {each for person in persons.values() for each in person}
    query = select(_results.c.subject_key).where(_results.c.subject_key.in_(theirs), _results.c.file_time >= horizon)
    kept = set(connection.execute(query.distinct()).scalars())
    ended = [key for key, person in persons.items() if kept.isdisjoint(person)]
    if ended:
        # Unless it was asked for again meanwhile.
        its = (_followed.c.subject_key.in_(ended), _followed.c.follow_time < horizon)
        connection.execute(delete(_followed).where(*its))
    return keys[-1]


def list_subscribed(connection: Connection, node: str, after: bytes, limit: int) -> list[bytes]:
    """Keys that are followed at a node, in their order, from the one after `after` on."""
    query = select(_followed.c.subject_key).where(_followed.c.node == node, _followed.c.subject_key > after)
    return list(connection.execute(query.order_by(_followed.c.subject_key).limit(limit)).scalars())
