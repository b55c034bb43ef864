"""Reads audit events for supervisors and operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from services.audit.keys import AuditKeys, day_of
from services.audit.model import KEPT, Chain
from services.audit.tables import AuditTables
from services.domain.instant import DAY, Instant
from services.domain.region import NATION, prefix
from services.runtime.audit import AuditKind

_STEP = 2_000
"""Rows that are read at once."""
_AT_ONCE = 500
"""Tags or names of one statement. SQLite takes 32,766 parameters."""


class Position(NamedTuple):
    """The place of a row in the order of listings."""

    time: Instant
    writer_id: int
    sequence: int


BEGINNING = Position(-(2**62), 0, 0)
"""Before every row."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Selects rows. An empty field selects all."""

    region: str = ""
    start_time: Instant | None = None
    end_time: Instant | None = None
    kinds: tuple[int, ...] = ()
    caller: str = ""


def list_events(
    connection: Connection, tables: AuditTables, wanted: EventFilter, after: Position, limit: int
) -> list[Any]:
    """Return at most `limit` rows after a position, by time."""
    rows = tables.rows
    order = (rows.c.time, rows.c.writer_id, rows.c.sequence)
    query = (
        select(rows).where(*_conditions(tables, wanted), tuple_(*order) > tuple_(*after)).order_by(*order).limit(limit)
    )
    return list(connection.execute(query))


def _conditions(tables: AuditTables, wanted: EventFilter) -> list[ColumnElement[bool]]:
    columns = tables.rows.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.region and wanted.region != NATION:
        conditions.append(columns.region.startswith(prefix(wanted.region), autoescape=True))
    if wanted.start_time is not None:
        conditions.append(columns.time >= wanted.start_time)
    if wanted.end_time is not None:
        conditions.append(columns.time < wanted.end_time)
    if wanted.kinds:
        conditions.append(columns.kind.in_(wanted.kinds))
    if wanted.caller:
        conditions.append(columns.caller == wanted.caller)
    return conditions


def export_events(connection: Connection, tables: AuditTables, since: Instant) -> Iterator[Any]:
    """Yield all rows from an instant on, by time."""
    after = BEGINNING
    while True:
        found = list_events(connection, tables, EventFilter(start_time=since), after, _STEP)
        yield from found
        if len(found) < _STEP:
            return
        last = found[-1]
        after = Position(last.time, last.writer_id, last.sequence)


def find_events(
    connection: Connection,
    tables: AuditTables,
    keys: AuditKeys,
    subject_keys: Sequence[bytes],
    now: Instant,
    names: Sequence[str] = (),
) -> list[Any]:
    """Return all rows about a person in order of time. The subject keys of the person's documents are given.

    `names` are resource names that are about the person too, such as decisions, whose rows have no tag.

    A tag is of one day, so that rows are compared with the tags of every day. The whole table is read.
    """
    rows = tables.rows
    oldest = connection.execute(select(func.min(rows.c.time))).scalar()
    if oldest is None:
        return []
    first = max(day_of(oldest), day_of(now - KEPT[Chain.CHANGES] - DAY))
    days = range(first, day_of(now) + 2)
    tags = [keys.subject_tag(key, day) for key in subject_keys for day in days]
    objects = [keys.name_object(name) for name in names]
    found: list[Any] = []
    for start in range(0, len(tags), _AT_ONCE):
        found += connection.execute(select(rows).where(rows.c.subject_tag.in_(tags[start : start + _AT_ONCE])))
    for start in range(0, len(objects), _AT_ONCE):
        of_name = rows.c.object.in_(objects[start : start + _AT_ONCE])
        found += connection.execute(select(rows).where(of_name, rows.c.subject_tag.is_(None)))
    return sorted(found, key=lambda row: (row.time, row.writer_id, row.sequence))


def count_bulk_reads(connection: Connection, tables: AuditTables) -> list[Any]:
    """Return callers, methods and sums of the reads of many persons, which have no tag."""
    rows = tables.rows.c
    query = (
        select(
            rows.role, rows.caller, rows.method, func.count().label("reads"), func.sum(rows.item_count).label("items")
        )
        .where(
            rows.kind == int(AuditKind.READ),
            rows.subject_tag.is_(None),
            rows.item_count > 0,
            # Reads of a decision are about one person, whom the decision's name reveals.
            ~rows.object.startswith("decisions/"),
        )
        .group_by(rows.role, rows.caller, rows.method)
        .order_by(rows.role, rows.caller, rows.method)
    )
    return list(connection.execute(query))
