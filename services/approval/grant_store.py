"""Emergency grants in the database. Plain functions over a connection."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from hutong_texts import english
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, or_, select, update

from services.approval.model import EmergencyGrant
from services.domain.errors import FailedPrecondition, NotFound
from services.domain.instant import DAY, Instant
from services.domain.names import format_emergency_grant
from services.runtime.caller import Caller
from services.storage.columns import in_region
from services.storage.upsert import insert_if_absent

KEPT = 3 * 365 * DAY
"""How long a reviewed grant is kept. The audit keeps changes for as long, and only the grant says why the changes were
made without a second approver."""


@dataclass(frozen=True, slots=True)
class GrantFilter:
    """Selects grants. An empty field selects all grants."""

    region: str = ""
    role: str = ""
    include_reviewed: bool = False


def insert_grant(connection: Connection, table: Table, grant: EmergencyGrant) -> None:
    """Store a grant. Remove reviewed grants that are older than KEPT.

    Raises:
        FailedPrecondition: GRANT_NOT_REVIEWED, the holder has another grant that is not reviewed yet.
    """
    reviewed = table.c.review_time.is_not(None)
    connection.execute(delete(table).where(reviewed, table.c.create_time < grant.create_time - KEPT))
    by_holder = table.c.holder == grant.holder
    is_own = or_(by_holder, table.c.person == grant.person) if grant.person else by_holder
    earlier = select(table.c.grant_id).where(is_own, table.c.review_time.is_(None)).limit(1)
    found = connection.execute(earlier).scalar()
    if found is None and connection.execute(insert_if_absent(connection, table).values(asdict(grant))).rowcount == 0:
        # Another process has opened a grant of the same holder meanwhile.
        found = connection.execute(earlier).scalar_one()
    if found is not None:
        name = format_emergency_grant(found)
        raise FailedPrecondition(
            "GRANT_NOT_REVIEWED",
            english("another caller must first review the earlier grant"),
            metadata={"grant": name},
        )


def find_grant(connection: Connection, table: Table, grant_id: str) -> EmergencyGrant:
    """Return a grant. Raises NotFound."""
    row = connection.execute(select(table).where(table.c.grant_id == grant_id)).first()
    if row is None:
        raise NotFound.resource(format_emergency_grant(grant_id))
    return EmergencyGrant(**row._mapping)


def find_open_grant(connection: Connection, table: Table, caller: Caller, now: Instant) -> EmergencyGrant | None:
    """Return the open grant of a caller; None if the caller has none."""
    is_held = (table.c.holder == caller.name, table.c.role == caller.role)
    row = connection.execute(select(table).where(*is_held, _is_open(table, now))).first()
    return None if row is None else EmergencyGrant(**row._mapping)


def use_grant(connection: Connection, table: Table, grant_id: str, now: Instant) -> bool:
    """Count an approval under a grant, in the transaction of the approval. Return False if the grant has ended."""
    counted = {"approved_count": table.c.approved_count + 1}
    used = update(table).where(table.c.grant_id == grant_id, _is_open(table, now)).values(counted)
    return connection.execute(used).rowcount == 1


def end_grant(connection: Connection, table: Table, grant_id: str, ender: str, now: Instant) -> bool:
    """End a grant early. Return False if no grant with this id is open."""
    ended = {"end_time": now, "ender": ender}
    found = connection.execute(update(table).where(table.c.grant_id == grant_id, _is_open(table, now)).values(ended))
    return found.rowcount == 1


def review_grant(connection: Connection, table: Table, grant_id: str, reviewer: str, note: str, now: Instant) -> bool:
    """Record the review of a grant. Return False if there is no such grant, or if it is reviewed already."""
    reviewed = {"reviewer": reviewer, "review_time": now, "review_note": note}
    is_unreviewed = (table.c.grant_id == grant_id, table.c.review_time.is_(None))
    return connection.execute(update(table).where(*is_unreviewed).values(reviewed)).rowcount == 1


def list_grants(
    connection: Connection, table: Table, wanted: GrantFilter, before: str, limit: int
) -> list[EmergencyGrant]:
    """Return at most `limit` grants, newest first, after the grant `before`.

    An empty `before` begins with the newest grant.
    """
    columns = table.c
    conditions = [in_region(columns.region, wanted.region)]
    if before:
        conditions.append(columns.grant_id < before)
    if wanted.role:
        conditions.append(columns.role == wanted.role)
    if not wanted.include_reviewed:
        conditions.append(columns.review_time.is_(None))
    query = select(table).where(*conditions).order_by(columns.grant_id.desc()).limit(limit)
    return [EmergencyGrant(**row._mapping) for row in connection.execute(query)]


def count_grants(connection: Connection, table: Table, now: Instant) -> tuple[int, int]:
    """Return how many grants are open, and how many have ended but are not reviewed."""
    unreviewed = select(func.count()).select_from(table).where(table.c.review_time.is_(None))
    every = connection.execute(unreviewed).scalar_one()
    still_open = connection.execute(unreviewed.where(_is_open(table, now))).scalar_one()
    return still_open, every - still_open


def _is_open(table: Table, now: Instant) -> ColumnElement[bool]:
    return and_(table.c.end_time.is_(None), table.c.review_time.is_(None), table.c.expire_time > now)
