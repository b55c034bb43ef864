"""Retention of Policy. Old remembered requests are removed. Every revision is kept, because policies are law."""

from __future__ import annotations

from sqlalchemy import Connection, delete

from services.domain.instant import Instant
from services.policy.tables import deletion_counts, requests
from services.storage.deletion_counts import DeletionCounts
from services.storage.engine import Database


def purge_policy(database: Database, deletion_id: str, oldest: Instant) -> int:
    """Remove the request ids that were remembered before an instant.

    Count them under the deletion id, and return their number.
    """
    return database.write_now(_remove_requests, DeletionCounts(deletion_counts, deletion_id), oldest)


def _remove_requests(connection: Connection, counts: DeletionCounts, oldest: Instant) -> int:
    gone = connection.execute(delete(requests).where(requests.c.create_time < oldest)).rowcount
    return counts.add(connection, requests.name, gone)
