"""Subscriptions of nodes to subjects: storing them, and reading the stored results of the subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select, text, tuple_

from services.domain.instant import Instant
from services.domain.region import NATION
from services.results.documents.model import DocumentLink
from services.results.documents.store import find_linked, find_links
from services.results.documents.tables import document_links
from services.results.exchange.downstream.nodes import add_node
from services.results.exchange.downstream.notifications.copied_items import leave_out_other_items
from services.results.exchange.downstream.notifications.notifications import note_subscription
from services.results.exchange.model import Replica, SubscriptionPosition
from services.results.exchange.subscribers import add_subscriptions
from services.results.lookup.pick import MAX_PER_SUBJECT
from services.results.records.by_key import KEYS_AT_ONCE
from services.results.records.model import SUPERSEDED, ReportName, StoredResult
from services.results.records.queries import COLUMNS
from services.results.records.tables import report_keys, results
from services.runtime.audit import record_change
from services.storage.advisory_locks import AdvisoryLock

_links = document_links
_results = results
_keys = report_keys
_WIDTH = len(COLUMNS)


class SubscribedSubject(NamedTuple):
    """What a node gets of a subject: the results of all documents of the subject, newest report first."""

    subject_keys: Sequence[bytes]
    replicas: Sequence[Replica]


def subscribe_node(
    connection: Connection, node: str, subject_keys: Sequence[bytes], now: Instant, own: str = NATION
) -> tuple[list[list[bytes]], SubscriptionPosition]:
    """Subscribe a node to subjects by all their documents.

    Return the keys of each subject, the given key first, and the position of the subscription. Each call takes a
    notification number. If this node knows the position, it therefore also knows the subscription. A repeat takes a
    number of its own, because the node below may not have received the earlier one.
    """
    linked = find_linked(connection, subject_keys)
    subjects = [linked.get(key, [key]) for key in subject_keys]
    keys = {key for keys in subjects for key in keys}
    add_node(connection, node, now, own)
    add_subscriptions(connection, node, list(keys), now)
    record_change(connection, count=len(subject_keys))
    return subjects, note_subscription(connection, node, now)


def find_open_transactions(connection: Connection) -> set[str]:
    """Return the open transactions that have looked up subscribers.

    On SQLite there are none, because SQLite runs one write transaction at a time.
    """
    if connection.dialect.name == "sqlite":
        return set()
    held = text(
        "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 0"
        " AND objid = :lock AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return set(connection.execute(held, {"lock": AdvisoryLock.SUBSCRIPTION}).scalars())


def find_all_links(connection: Connection, subjects: Sequence[Sequence[bytes]]) -> list[DocumentLink]:
    """Return the links of these subjects' documents: active links first, then links that have ended.

    Without the latter, a node that was restored from an older copy would keep a link that has ended since.
    """
    keys = sorted({key for keys in subjects for key in keys})
    found: set[str] = set()
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        either = or_(_links.c.subject_key.in_(some), _links.c.linked_subject_key.in_(some))
        found.update(connection.execute(select(_links.c.link_id).where(either)).scalars())
    return sorted(find_links(connection, sorted(found)), key=lambda link: link.unlink_time is not None) if found else []


def read_subscribed(connection: Connection, node: str, subjects: Sequence[Sequence[bytes]]) -> list[SubscribedSubject]:
    """Return the newest revisions of the results that a node gets of each subject, newest report first.

    At most MAX_PER_SUBJECT of each item are returned.
    """
    return [
        SubscribedSubject(keys, leave_out_other_items(connection, node, _find_replicas(connection, keys)))
        for keys in subjects
    ]


def _find_replicas(connection: Connection, subject_keys: Sequence[bytes]) -> list[Replica]:
    newest_first = (_results.c.reference_time.desc(), _results.c.lab, _results.c.report_number)
    number_in_item = func.row_number().over(partition_by=_results.c.item, order_by=newest_first).label("number_in_item")
    numbered = (
        select(*COLUMNS, _results.c.key_version, number_in_item)
        .where(_results.c.subject_key.in_(subject_keys), _results.c.state != SUPERSEDED)
        .subquery()
    )
    query = (
        select(*[column for column in numbered.c if column.name != "number_in_item"])
        .where(numbered.c.number_in_item <= MAX_PER_SUBJECT)
        .order_by(numbered.c.reference_time.desc(), numbered.c.lab, numbered.c.report_number)
    )
    rows = connection.execute(query).all()
    hashes = _find_hashes(connection, [(row.lab, row.report_number) for row in rows])
    found = []
    for row in rows:
        result = StoredResult._make(row[:_WIDTH])
        revision, content_hash, sampling_hash = hashes.get((result.lab, result.report_number), (0, b"", None))
        # The node is subscribed already. It is notified of a revision that arrived between the two reads.
        if revision == result.revision:
            found.append(Replica(result, row.key_version, content_hash, sampling_hash or b""))
    return found


def _find_hashes(
    connection: Connection, names: Sequence[ReportName]
) -> dict[ReportName, tuple[int, bytes, bytes | None]]:
    """Return for each report the newest revision and the hashes of its content and of its sampling record."""
    columns = (_keys.c.revision, _keys.c.content_hash, _keys.c.sampling_hash)
    query = select(_keys.c.lab, _keys.c.report_number, *columns)
    named = tuple_(_keys.c.lab, _keys.c.report_number).in_(list(names))
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in connection.execute(query.where(named))}
