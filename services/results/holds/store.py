"""Legal holds in the database, and the results that they keep beyond a purge.

A purge moves held results to a table of their own before it removes anything. Everything else therefore works without
regard to holds: PostgreSQL drops whole months, and look-ups do not read the holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message
from hutong_texts import english
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, not_, or_, select, tuple_, update

from services.domain.errors import NotFound, Unavailable
from services.domain.instant import SECOND, Instant
from services.domain.names import format_legal_hold
from services.domain.region import prefix, within
from services.results.holds import tables
from services.results.holds.model import SUPERVISORS, HeldResult, LegalHold, region_of
from services.results.records.model import StoredResult
from services.results.records.tables import results, revision_reasons
from services.runtime.server.access.permits import Owner
from services.storage.advisory_locks import AdvisoryLock
from services.storage.deletion_counts import DeletionCounts
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter
from services.storage.process_lock import aio_try_process_lock
from services.storage.upsert import insert_if_absent

_holds, _held = tables.legal_holds, tables.held_results
_HOLD = [_holds.c[name] for name in LegalHold.__dataclass_fields__]
_RESULT = [_held.c[name] for name in StoredResult._fields]
MOVED = "results.held"
"""The name under which a purge counts the results that it has moved."""

M = TypeVar("M", bound=Message)
HoldPosition = tuple[Instant, str]
"""Create time and id of the last hold of a page."""
HeldPosition = tuple[str, str, int]
"""Laboratory, report number and revision of the last held result of a page or a step."""
BEFORE_ANY_HELD: HeldPosition = ("", "", 0)


class HoldStore:
    """Legal holds of this node, whose region is `node`."""

    def __init__(self, database: Database, writer: IdempotentWriter, node: str) -> None:
        self._database = database
        self._writer = writer
        self._node = node

    async def owner_of(self, hold_id: str) -> Owner:
        """Return whose hold it is. Raises NotFound."""
        return Owner(region_of(await self._database.read(_read_hold, hold_id), self._node))

    async def create(self, hold: LegalHold, request: IdempotentRequest[LegalHold, M]) -> M:
        """Store a hold. Every purge that begins later respects it.

        Raises:
            Unavailable: OVERLOADED, a purge is under way. It has read the holds already and would not respect this one.
        """

        def run(connection: Connection) -> LegalHold:
            connection.execute(insert(_holds).values({column.name: getattr(hold, column.name) for column in _HOLD}))
            return hold

        async with aio_try_process_lock(self._database, "purge", AdvisoryLock.PURGE, is_shared=True) as is_held:
            if not is_held:
                raise Unavailable(
                    "OVERLOADED",
                    english("a purge is under way, which would not respect the hold; put it after its end"),
                    retry_after=60 * SECOND,
                )
            return await self._writer.write(request, run)

    async def lift(self, hold_id: str, reason: str, actor: str | None, request: IdempotentRequest[LegalHold, M]) -> M:
        """Lift a hold. A hold that is lifted already does not change. Raises NotFound if there is no such hold."""

        def run(connection: Connection) -> LegalHold:
            active = (_holds.c.hold_id == hold_id, _holds.c.lift_time.is_(None))
            lifted = {"lift_time": request.now, "lift_reason": reason, "lift_actor": actor}
            connection.execute(update(_holds).where(*active).values(lifted))
            return _read_hold(connection, hold_id)

        return await self._writer.write(request, run)

    async def list_holds(
        self, region: str, after: HoldPosition | None, limit: int, *, include_lifted: bool
    ) -> list[LegalHold]:
        """Return a page of the holds that belong to a region or to one in it, newest first; of all if it is empty."""
        query = select(*_HOLD).order_by(_holds.c.create_time.desc(), _holds.c.hold_id.desc()).limit(limit)
        if region:
            query = query.where(self._belongs_to(region))
        if not include_lifted:
            query = query.where(_holds.c.lift_time.is_(None))
        if after is not None:
            query = query.where(tuple_(_holds.c.create_time, _holds.c.hold_id) < tuple_(*after))
        return await self._database.read(lambda connection: [LegalHold(*row) for row in connection.execute(query)])

    async def list_held(self, hold_id: str, after: HeldPosition | None, limit: int) -> list[HeldResult]:
        """Return a page of the moved results that a hold covers. Raises NotFound if there is no such hold."""
        return await self._database.read(_list_held, hold_id, after, limit)

    def _belongs_to(self, region: str) -> ColumnElement[bool]:
        """Return the condition that a hold belongs to a region or to one in it (`region_of`)."""
        theirs = _holds.c.actor.startswith(SUPERVISORS + prefix(region))
        if not within(self._node, region):
            return theirs
        return or_(theirs, _holds.c.actor.is_(None), not_(_holds.c.actor.startswith(SUPERVISORS)))


def _read_hold(connection: Connection, hold_id: str) -> LegalHold:
    row = connection.execute(select(*_HOLD).where(_holds.c.hold_id == hold_id)).first()
    if row is None:
        raise NotFound.resource(format_legal_hold(hold_id))
    return LegalHold(*row)


def _list_held(connection: Connection, hold_id: str, after: HeldPosition | None, limit: int) -> list[HeldResult]:
    covered = covers(_read_hold(connection, hold_id), _held)
    key = (_held.c.lab, _held.c.report_number, _held.c.revision)
    query = select(*_RESULT, _held.c.revision_reason, _held.c.hold_time).where(covered).order_by(*key).limit(limit)
    if after is not None:
        query = query.where(tuple_(*key) > tuple_(*after))
    return [HeldResult(StoredResult(*row[:-2]), *row[-2:]) for row in connection.execute(query)]


def covers(hold: LegalHold, table: Table) -> ColumnElement[bool]:
    """Return the condition that a hold covers a row of `results` or of the table of held results."""
    conditions: list[ColumnElement[bool]] = []
    if hold.subject_key is not None:
        conditions.append(table.c.subject_key.in_([key for key in (hold.subject_key, hold.other_key) if key]))
    if hold.lab:
        conditions.append(table.c.lab == hold.lab)
    if hold.report_start is not None:
        conditions.append(table.c.reference_time >= hold.report_start)
    if hold.report_end is not None:
        conditions.append(table.c.reference_time < hold.report_end)
    return and_(*conditions)


def read_active_holds(connection: Connection) -> list[LegalHold]:
    """Return the holds that are not lifted."""
    query = select(*_HOLD).where(_holds.c.lift_time.is_(None)).order_by(_holds.c.hold_id)
    return [LegalHold(*row) for row in connection.execute(query)]


def move_held(
    connection: Connection, counts: DeletionCounts, hold: LegalHold, horizon: Instant, now: Instant, limit: int
) -> bool:
    """Move the next held results that are older than the horizon. Return whether there may be more."""
    columns = list(results.columns)
    found = connection.execute(
        select(*columns).where(results.c.reference_time < horizon, covers(hold, results)).limit(limit)
    ).mappings()
    rows = [dict(row) for row in found]
    if not rows:
        return False
    reasons = _read_reasons(connection, rows)
    moved = [{**row, "revision_reason": reasons.get(_revision_of(row), ""), "hold_time": now} for row in rows]
    connection.execute(insert_if_absent(connection, _held), moved)
    for row in rows:
        of_row = [results.c[name] == row[name] for name in _IDENTITY]
        connection.execute(delete(results).where(*of_row))
    counts.add(connection, MOVED, len(rows))
    return len(rows) == limit


_IDENTITY = ("subject_key", "reference_time", "lab", "report_number", "revision")
"""The columns that identify a row of `results`."""


def _revision_of(row: Any) -> tuple[str, str, int]:
    return row["lab"], row["report_number"], row["revision"]


def _read_reasons(connection: Connection, rows: Sequence[Any]) -> dict[tuple[str, str, int], str]:
    """Return the reason for each revision that has a reason."""
    reasons = revision_reasons
    revised = [row for row in rows if row["revision"] > 1]
    found: dict[tuple[str, str, int], str] = {}
    for lab in {row["lab"] for row in revised}:
        numbers = {row["report_number"] for row in revised if row["lab"] == lab}
        query = select(reasons.c.report_number, reasons.c.revision, reasons.c.reason).where(
            reasons.c.lab == lab, reasons.c.report_number.in_(numbers)
        )
        found.update({(lab, number, revision): reason for number, revision, reason in connection.execute(query)})
    return found


def destroy_released(
    counts: DeletionCounts, step_size: int, connection: Connection, _horizon: Instant, after: HeldPosition
) -> HeldPosition | None:
    """Destroy the moved results of the next step that no active hold covers any more.

    Return the last of the examined results; None if there are no more.
    """
    key = (_held.c.lab, _held.c.report_number, _held.c.revision)
    rest = select(*key).where(tuple_(*key) > tuple_(*after)).order_by(*key)
    last = connection.execute(rest.offset(step_size - 1).limit(1)).first()
    examined = [tuple_(*key) > tuple_(*after)]
    if last is not None:
        examined.append(tuple_(*key) <= tuple_(*last))
    held = [covers(hold, _held) for hold in read_active_holds(connection)]
    released = delete(_held).where(*examined, not_(or_(*held))) if held else delete(_held).where(*examined)
    counts.add(connection, _held.name, connection.execute(released).rowcount)
    return None if last is None else (last.lab, last.report_number, last.revision)
