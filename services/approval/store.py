"""Pending changes in the database. Plain functions over a connection."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from hutong_texts import english
from sqlalchemy import Connection, Table, delete, func, insert, select, update

from services.approval.model import PendingChange, State
from services.domain.errors import FailedPrecondition, NotFound
from services.domain.instant import DAY, Instant
from services.domain.names import format_pending_change
from services.storage.columns import in_region

KEPT = 180 * DAY
"""How long a change is kept after it was proposed. The audit keeps reads for the same time."""


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Selects changes. An empty field selects all changes.

    `open_at` selects changes that can still be decided at an instant.
    """

    region: str = ""
    object: str = ""
    role: str = ""
    open_at: Instant | None = None


def insert_change(connection: Connection, table: Table, change: PendingChange) -> None:
    """Store a change. Remove changes that are older than KEPT."""
    connection.execute(delete(table).where(table.c.create_time < change.create_time - KEPT))
    connection.execute(insert(table).values(asdict(change)))


def find_change(connection: Connection, table: Table, change_id: str) -> PendingChange:
    """Return a change. Raises NotFound."""
    row = connection.execute(select(table).where(table.c.change_id == change_id)).first()
    if row is None:
        raise NotFound.resource(format_pending_change(change_id))
    return PendingChange(**row._mapping)


def list_changes(
    connection: Connection, table: Table, wanted: ChangeFilter, before: str, limit: int
) -> list[PendingChange]:
    """Return at most `limit` changes, newest first, after the change `before`.

    An empty `before` begins with the newest change.
    """
    columns = table.c
    conditions = [in_region(columns.region, wanted.region)]
    if before:
        conditions.append(columns.change_id < before)
    if wanted.object:
        conditions.append(columns.object == wanted.object)
    if wanted.role:
        conditions.append(columns.role == wanted.role)
    if wanted.open_at is not None:
        conditions += [columns.state == int(State.PENDING), columns.expire_time > wanted.open_at]
    query = select(table).where(*conditions).order_by(columns.change_id.desc()).limit(limit)
    return [PendingChange(**row._mapping) for row in connection.execute(query)]


def count_open(connection: Connection, table: Table, now: Instant, proposer: str = "") -> int:
    """Return how many changes can still be decided at an instant: those of one proposer, or all."""
    is_open = [table.c.state == int(State.PENDING), table.c.expire_time > now]
    if proposer:
        is_open.append(table.c.proposer == proposer)
    return connection.execute(select(func.count()).select_from(table).where(*is_open)).scalar_one()


def decide(
    connection: Connection,
    table: Table,
    change_id: str,
    state: State,
    decider: str,
    now: Instant,
    reason: str = "",
    grant_id: str | None = None,
) -> bool:
    """Approve or reject a pending change. Return False if the change has the requested state already.

    `grant_id` names the emergency grant under which the proposer approves the change.

    Raises:
        NotFound: there is no such change.
        FailedPrecondition: NOT_PENDING, the change was decided in the other way or has lapsed.
    """
    pending = (table.c.change_id == change_id, table.c.state == int(State.PENDING), table.c.expire_time > now)
    decided = {
        "state": int(state),
        "decider": decider,
        "decide_time": now,
        "reject_reason": reason,
        "grant_id": grant_id,
    }
    if connection.execute(update(table).where(*pending).values(decided)).rowcount == 1:
        return True
    found = find_change(connection, table, change_id).state_at(now)
    if found != state:
        raise not_pending(found)
    return False


def complete(
    connection: Connection, table: Table, change_id: str, count: int, token: str, now: Instant
) -> PendingChange:
    """Record when an approved change was completed, and return the change. A repeated call changes nothing."""
    open_ = (table.c.change_id == change_id, table.c.complete_time.is_(None))
    connection.execute(
        update(table).where(*open_).values(complete_time=now, changed_count=count, consistency_token=token)
    )
    return find_change(connection, table, change_id)


def not_pending(state: State) -> FailedPrecondition:
    """Return the error for a change that can no longer be decided."""
    words = {
        State.APPROVED: english("is approved"),
        State.REJECTED: english("was rejected"),
        State.LAPSED: english("has lapsed"),
    }
    return FailedPrecondition(
        "NOT_PENDING", english("the change {words}", words=words[state]), metadata={"state": state.name}
    )
