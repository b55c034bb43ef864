"""Stores the counts of decisions in SQLite or PostgreSQL."""

from __future__ import annotations

from typing import Any

from hutong.verification.v1 import decision_pb2
from sqlalchemy import ColumnElement, Connection, delete, func, select

from services.domain.instant import HOUR, Instant
from services.domain.region import prefix, within
from services.storage.upsert import insert_if_absent, insert_or_update
from services.verification.decision_counts.model import CountBatch, Counts
from services.verification.decision_counts.tables import decision_counts
from services.verification.idempotency import requests

_C = decision_counts.c
_KEY = ("hour", "region", "purpose", "node")
_COLUMN_OF: dict[int, str] = {
    decision_pb2.DECISION_OUTCOME_RECOGNIZED: "recognized_count",
    decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED: "not_recognized_count",
    decision_pb2.DECISION_OUTCOME_NOT_REQUIRED: "not_required_count",
    decision_pb2.DECISION_OUTCOME_UNDETERMINED: "undetermined_count",
}
OUTCOME_COLUMNS = tuple(_COLUMN_OF.values())
_METHOD = "DecisionCounts"
"""Stands in the column `method` of the table of request ids, for rows with the ids of batches."""


def add_batch(connection: Connection, own: str, batch: CountBatch, last_id: str, now: Instant) -> None:
    """Add a batch of counts as `add_counts` does, unless it is stored already.

    An error may come after the commit, so the same batch may come again. The database remembers the id of the batch
    that a process stored last. `last_id` is the id of the batch before, which is not needed any more.
    """
    id_of = requests.c.request_id
    if last_id:
        connection.execute(delete(requests).where(requests.c.method == _METHOD, id_of == last_id))
    claim = insert_if_absent(connection, requests).values(
        method=_METHOD, request_id=batch.id, content_hash=b"", response=b"", create_time=now
    )
    if connection.execute(claim).rowcount:
        add_counts(connection, own, batch.counts)


def add_counts(connection: Connection, own: str, counts: Counts) -> None:
    """Add the counts of a process to the stored counts of this node, whose region is `own`.

    A row about a place outside `own` is not for the node above. Its version stays 0, so it is never unsent.
    """
    rows: dict[tuple[int, str, int], dict[str, Any]] = {}
    for key, count in counts.items():
        column = _COLUMN_OF.get(key.outcome)
        if column is None:
            continue
        at = (key.hour, key.region, int(key.purpose))
        versions = {"version": int(within(key.region, own)), "sent_version": 0}
        nothing = dict(zip(_KEY, (*at, own), strict=True)) | dict.fromkeys(OUTCOME_COLUMNS, 0) | versions
        rows.setdefault(at, nothing)[column] += count
    if rows:
        insert = insert_or_update(connection, decision_counts)
        added = {name: _C[name] + insert.excluded[name] for name in (*OUTCOME_COLUMNS, "version")}
        changed = insert.on_conflict_do_update(index_elements=_KEY, set_=added)
        # Rows are locked in one order by all transactions.
        connection.execute(changed, [rows[at] for at in sorted(rows)])


def count_conditions(region: str, start_time: Instant, end_time: Instant) -> list[ColumnElement[bool]]:
    """Return the conditions of counts about a region or below it, in whole hours of UTC."""
    # PostgreSQL finds a range of codes by the primary key. With LIKE it would read all rows of the hours.
    digits = prefix(region)
    return [
        _C.hour >= start_time // HOUR,
        _C.hour < -(-end_time // HOUR),
        _C.region >= digits.ljust(6, "0"),
        _C.region <= digits.ljust(6, "9"),
    ]


def first_hour(connection: Connection) -> Instant | None:
    """Return the beginning of the first hour with counts; None if there are no counts."""
    hour = connection.execute(select(func.min(_C.hour))).scalar()
    return None if hour is None else hour * HOUR
