"""The counts that the node above does not have yet, and the counts that nodes below have sent.

Counts are sent as totals. A row is unsent while its version is greater than the version that the node above has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, or_, select, update

from services.storage.upsert import greater_of, insert_or_update
from services.verification.decision_counts.model import OutcomeCounts
from services.verification.decision_counts.store import OUTCOME_COLUMNS
from services.verification.decision_counts.tables import decision_counts

_C = decision_counts.c


class HourCount(NamedTuple):
    """The decisions that one node made in one hour about one place and purpose.

    Attributes:
        hour: the hour since 1970 in UTC.
        region: the place.
        purpose: a number of hutong.type.v1.Purpose.
        node: the region of the node.
        counts: the decisions.
        version: the version of the row; 0 in a count that was received.
    """

    hour: int
    region: str
    purpose: int
    node: str
    counts: OutcomeCounts
    version: int = 0


def read_unsent(connection: Connection, limit: int) -> list[HourCount]:
    """Return counts that the node above lacks, the earliest hours first."""
    query = (
        select(decision_counts)
        .where(_C.version > _C.sent_version)
        .order_by(_C.hour, _C.region, _C.purpose, _C.node)
        .limit(limit)
    )
    return [
        HourCount(
            row.hour,
            row.region,
            row.purpose,
            row.node,
            OutcomeCounts(*(row._mapping[name] for name in OUTCOME_COLUMNS)),
            row.version,
        )
        for row in connection.execute(query)
    ]


def mark_sent(connection: Connection, sent: Sequence[HourCount]) -> None:
    """Note that the node above has these counts. A row that has changed since it was read stays unsent."""
    key = (
        (_C.hour == bindparam("at_hour"))
        & (_C.region == bindparam("at_region"))
        & (_C.purpose == bindparam("at_purpose"))
        & (_C.node == bindparam("at_node"))
    )
    statement = update(decision_counts).where(key).values(sent_version=bindparam("to_version"))
    # Rows are locked in one order by all transactions.
    rows = [
        {
            "at_hour": one.hour,
            "at_region": one.region,
            "at_purpose": one.purpose,
            "at_node": one.node,
            "to_version": one.version,
        }
        for one in sorted(sent)
    ]
    connection.execute(statement, rows)


def reopen_hour(connection: Connection, from_hour: int) -> int | None:
    """Make the sent counts of one hour unsent. The hour is the first one at or after `from_hour` that has sent counts.

    Return the hour after it; None if no hour has sent counts. One hour has few rows, so the transaction is short.
    """
    query = select(func.min(_C.hour)).where(_C.hour >= from_hour, _C.sent_version > 0)
    hour = connection.execute(query).scalar()
    if hour is None:
        return None
    connection.execute(update(decision_counts).where(_C.hour == hour).values(sent_version=0))
    return int(hour) + 1


def merge_counts(connection: Connection, received: Iterable[HourCount]) -> None:
    """Store counts of other nodes.

    If a count is stored already, the greater of the stored and the received count is kept.
    """
    insert = insert_or_update(connection, decision_counts)
    merged: dict[str, Any] = {name: greater_of(connection, _C[name], insert.excluded[name]) for name in OUTCOME_COLUMNS}
    changed = insert.on_conflict_do_update(
        index_elements=["hour", "region", "purpose", "node"],
        set_=merged | {"version": _C.version + 1},
        where=or_(*(insert.excluded[name] > _C[name] for name in OUTCOME_COLUMNS)),
    )
    # Rows are locked in one order by all transactions. A later row about the same key is merged as a further statement.
    rows = [
        {"hour": one.hour, "region": one.region, "purpose": one.purpose, "node": one.node, "version": 1}
        | one.counts._asdict()
        | {"sent_version": 0}
        for one in sorted(received)
    ]
    if rows:
        connection.execute(changed, rows)
