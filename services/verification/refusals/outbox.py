"""Outbox of reported refusals: the reports whose current state another node does not have yet.

A report is sent as a whole, in its state at the time of sending. The outbox therefore has one row for each node and
report, however often the report changes.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select, update

from services.domain.instant import Instant
from services.storage.advisory_locks import AdvisoryLock, share_until_commit
from services.storage.upsert import insert_if_absent
from services.verification.refusals.routing import Links
from services.verification.refusals.tables import refusal_links, refusal_outbox

_outbox = refusal_outbox.c


def read_links(connection: Connection, own: str, has_upstream: bool) -> Links:
    """Return the nodes with which this node exchanges reports."""
    rows = connection.execute(select(refusal_links.c.node, refusal_links.c.is_above)).all()
    above = next((row.node for row in rows if row.is_above), "") if has_upstream else ""
    return Links(own, above, frozenset(row.node for row in rows if not row.is_above), has_upstream)


def links_for_change(connection: Connection, own: str, has_upstream: bool) -> Links:
    """Return what `read_links` returns, for a transaction that changes reports.

    A link that begins now waits until the transaction ends. Otherwise the link would miss the reports of the
    transaction, and the transaction would miss the link.
    """
    share_until_commit(connection, AdvisoryLock.REFUSAL_LINKS)
    return read_links(connection, own, has_upstream)


def enqueue(connection: Connection, uuid: str, nodes: Iterable[str], now: Instant) -> None:
    """Put a report into the outbox for some nodes."""
    for node in sorted(nodes):
        row = (_outbox.node == node) & (_outbox.uuid == uuid)
        changed = update(refusal_outbox).where(row).values(version=_outbox.version + 1, send_time=now)
        new = insert_if_absent(connection, refusal_outbox).values(node=node, uuid=uuid, version=now, send_time=now)
        # The update misses a row that another transaction inserts at the same time. Before this transaction commits,
        # the report may be sent in the state that the other transaction has stored. The version must therefore change
        # again.
        while connection.execute(changed).rowcount == 0 and connection.execute(new).rowcount == 0:
            pass
