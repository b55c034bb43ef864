"""Whose results a node follows: at the nation for each of its provinces, at a province what it has taken in.

A following lasts while anything of the person is kept where it is known, and at least as long as results are kept from
when it was last asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite

from services.domain.instant import Instant
from services.results import tables
from services.results.exchange.model import Replica
from services.results.exchange.downstream.nodes import add_node
from services.results.exchange.downstream.notices import FOLLOWING_LOCK, note_following
from services.results.documents.store import find_linked, find_links
from services.results.lookup.pick import MAX_PER_PERSON
from services.results.records.model import DocumentLink, StoredResult
from services.results.records.revisions import COLUMNS, IS_NEWEST

_followed = tables.followed_subjects
_links = tables.document_links
_results = tables.results
_keys = tables.report_keys
_WIDTH = len(COLUMNS)
_STEP = 1_000
"""Persons that one transaction looks at."""


class FollowedSubject(NamedTuple):
    """All that is kept of a person: results by any of their documents, newest report first."""

    subject_keys: Sequence[bytes]
    replicas: Sequence[Replica]


def add_followed(connection: Connection, node: str, subject_keys: Sequence[bytes], now: Instant) -> None:
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


def end_followings(connection: Connection, horizon: Instant, after: bytes) -> bytes | None:
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


def register_follower(
    connection: Connection, node: str, subject_keys: Sequence[bytes], now: Instant
) -> list[list[bytes]]:
    """Let a node follow persons, by all their documents: for each their keys, the asked one first.

    Whoever was not followed yet takes a notice's number, so that the node's place stands for its followings too.
    """
    linked = find_linked(connection, subject_keys)
    persons = [linked.get(key, [key]) for key in subject_keys]
    keys = {key for keys in persons for key in keys}
    add_node(connection, node, now)
    its = (_followed.c.node == node, _followed.c.subject_key.in_(keys))
    known = set(connection.execute(select(_followed.c.subject_key).where(*its)).scalars())
    add_followed(connection, node, list(keys), now)
    if keys - known:
        note_following(connection, node, now)
    return persons


def list_followed(connection: Connection, node: str, after: bytes, limit: int) -> list[bytes]:
    """Keys that are followed at a node, in their order, from the one after `after` on."""
    query = select(_followed.c.subject_key).where(_followed.c.node == node, _followed.c.subject_key > after)
    return list(connection.execute(query.order_by(_followed.c.subject_key).limit(limit)).scalars())


def find_under_way(connection: Connection) -> set[str]:
    """The transactions that have looked up followers and not ended; on SQLite there is never one beside the reader."""
    if connection.dialect.name == "sqlite":
        return set()
    held = text(
        "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 0"
        " AND objid = :lock AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return set(connection.execute(held, {"lock": FOLLOWING_LOCK}).scalars())


def find_ties(connection: Connection, persons: Sequence[Sequence[bytes]]) -> list[DocumentLink]:
    """The links that hold between documents of these persons."""
    keys = {key for keys in persons if len(keys) > 1 for key in keys}
    if not keys:
        return []
    either = or_(_links.c.subject_key.in_(keys), _links.c.linked_subject_key.in_(keys))
    link_ids = connection.execute(select(_links.c.link_id).where(either, _links.c.remove_time.is_(None))).scalars()
    return find_links(connection, list(link_ids))


def read_followed(connection: Connection, persons: Sequence[Sequence[bytes]]) -> list[FollowedSubject]:
    """The newest revisions of each person's results, newest report first, at most MAX_PER_PERSON."""
    return [FollowedSubject(keys, _find_replicas(connection, keys)) for keys in persons]


def _find_replicas(connection: Connection, subject_keys: Sequence[bytes]) -> list[Replica]:
    query = (
        select(*COLUMNS, _results.c.key_version, _keys.c.content_hash, _keys.c.sampling_hash)
        .join_from(_results, _keys, IS_NEWEST)
        .where(_results.c.subject_key.in_(subject_keys))
        .order_by(_results.c.file_time.desc(), _results.c.lab, _results.c.report_number)
        .limit(MAX_PER_PERSON)
    )
    found = []
    for row in connection.execute(query):
        key_version, content_hash, sampling_hash = row[_WIDTH:]
        found.append(Replica(StoredResult._make(row[:_WIDTH]), key_version, content_hash, sampling_hash or b""))
    return found
