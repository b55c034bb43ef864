"""Moves links to the newer version of the pepper, or removes them, so that a rotation of the pepper ends.

Age alone removes no active link. Without this module, the keys of active links would therefore keep the older version
in use for ever.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, delete, select, update

from services.domain.instant import Instant
from services.results.changelog.append import append_entry
from services.results.changelog.model import ChangeKind
from services.results.documents.key_pairs import find_twins
from services.results.documents.store import lock_links
from services.results.documents.tables import document_links
from services.results.records.tables import results
from services.storage.deletion_counts import DeletionCounts

_links = document_links
STEP = 500
"""Links that one transaction examines."""


def renew_links(
    counts: DeletionCounts, version: int, now: Instant, connection: Connection, horizon: Instant, after: str
) -> str | None:
    """Give the next links of older key versions the keys of `version`, or remove them.

    A link gets the newer keys if they are known for both documents. They are known if each document was uploaded,
    linked or imported after the rotation of the pepper began. A link is removed if three conditions are met: the link
    is active, it was made before the horizon, and one of its documents has no known newer key and no results after the
    horizon. All other links wait for the next purge.

    `after` is the last link that an earlier call examined. Return the last link that this call examined; None if there
    are no more links.
    """
    lock_links(connection)
    query = select(_links).where(_links.c.key_version < version, _links.c.link_id > after)
    rows = connection.execute(query.order_by(_links.c.link_id).limit(STEP)).all()
    twins = find_twins(connection, sorted({key for row in rows for key in (row.subject_key, row.linked_subject_key)}))
    unseen = {row.link_id: {row.subject_key, row.linked_subject_key} - twins.keys() for row in rows}
    kept = _with_results(connection, {key for keys in unseen.values() for key in keys}, horizon)
    renewed, ended = [], []
    for row in rows:
        keys = unseen[row.link_id]
        if not keys:
            renewed.append(row)
        elif row.unlink_time is None and row.create_time < horizon and not keys <= kept:
            ended.append(row.link_id)
    if renewed:
        newer = {"subject_key": bindparam("key"), "linked_subject_key": bindparam("linked_key"), "key_version": version}
        connection.execute(
            update(_links).where(_links.c.link_id == bindparam("renewed")).values(newer),
            [
                {"renewed": row.link_id, "key": twins[row.subject_key], "linked_key": twins[row.linked_subject_key]}
                for row in renewed
            ],
        )
    removed = connection.execute(delete(_links).where(_links.c.link_id.in_(ended))).rowcount if ended else 0
    counts.add(connection, _links.name, removed)
    # The node above gets both keys of these documents, so that it renews its own copies of the links.
    own = [(row.link_id, 0) for row in renewed if not row.source_node]
    append_entry(connection, "", own, now, ChangeKind.LINKS)
    return rows[-1].link_id if len(rows) == STEP else None


def _with_results(connection: Connection, subject_keys: Collection[bytes], horizon: Instant) -> set[bytes]:
    """Return those documents that have results at or after the horizon."""
    query = select(results.c.subject_key).where(
        results.c.subject_key.in_(subject_keys), results.c.reference_time >= horizon
    )
    return set(connection.execute(query.distinct()).scalars()) if subject_keys else set()
