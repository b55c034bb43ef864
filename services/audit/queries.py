"""Reads audit events for supervisors and operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain, islice
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Connection, Table, and_, func, or_, select, true, tuple_

from services.audit.kept_keys import add_kept_keys
from services.audit.keys import AuditKeys, day_of
from services.audit.model import KEPT, Chain, StoredEvent
from services.audit.packs import NO_TAG, Pack, unpack_events
from services.audit.tables import AuditTables
from services.domain.instant import DAY, Instant
from services.domain.region import prefix
from services.runtime.audit import AuditKind
from services.storage.columns import in_region

_PAGE_STEP = 20
"""Rows that one statement of a listing reads. A pack takes up to 100 kB, and one pack often fills a page."""
_STEP = 200
"""Rows that one statement reads when all rows are read."""
_AT_ONCE = 500
"""Tags or names in one statement. SQLite accepts 32,766 parameters."""


class BulkReads(NamedTuple):
    """The reads of many persons by one caller with one method.

    They are given as the number of reads, and as the number of results or persons that were read.
    """

    role: str
    caller: str
    method: str
    reads: int
    items: int


class Position(NamedTuple):
    """The position of an event in the order of listings."""

    time: Instant
    writer_id: int
    sequence: int


BEGINNING = Position(-(2**62), 0, 0)
"""The position before every row."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Selects rows. An empty field matches every row."""

    region: str = ""
    start_time: Instant | None = None
    end_time: Instant | None = None
    kinds: tuple[int, ...] = ()
    caller: str = ""


def list_events(
    connection: Connection, tables: AuditTables, wanted: EventFilter, after: Position, limit: int
) -> list[StoredEvent]:
    """Return at most `limit` events after a position, by time."""
    return list(islice(_find(connection, tables, wanted, after, _PAGE_STEP), limit))


def _find(
    connection: Connection, tables: AuditTables, wanted: EventFilter, after: Position, step: int
) -> Iterator[StoredEvent]:
    rows = _find_rows(connection, tables, wanted, after, step)
    return merge(rows, _find_packed(connection, tables, wanted, after, step), key=_position_of)


def _position_of(event: StoredEvent) -> Position:
    return Position(event.time, event.writer_id, event.sequence)


def _find_rows(
    connection: Connection, tables: AuditTables, wanted: EventFilter, after: Position, step: int
) -> Iterator[StoredEvent]:
    """Yield the events that have rows of their own, by time."""
    rows = tables.rows
    conditions = [*_within(rows, wanted), in_region(rows.c.region, wanted.region)]
    if wanted.kinds:
        conditions.append(rows.c.kind.in_(wanted.kinds))
    if wanted.caller:
        conditions.append(rows.c.caller == wanted.caller)
    columns = [rows.c[name] for name in StoredEvent._fields]
    for row in _read(connection, rows, columns, step, conditions, after):
        yield StoredEvent._make(row)


def _find_packed(
    connection: Connection, tables: AuditTables, wanted: EventFilter, after: Position, step: int
) -> Iterator[StoredEvent]:
    """Yield the events of packs, by time."""
    packs = tables.packs
    conditions = _within(packs, wanted)
    region = prefix(wanted.region)
    if region:
        conditions.append(packs.c.events.contains(f'"{region}', autoescape=True))
    if wanted.caller:
        conditions.append(packs.c.events.contains(orjson.dumps(wanted.caller).decode(), autoescape=True))
    if wanted.kinds and AuditKind.READ not in wanted.kinds:
        conditions.append(packs.c.has_denials.is_(true()))
    # If a page ended inside a pack, that pack begins before the position.
    ends = packs.c.sequence + packs.c.event_count - 1
    for row in _read(connection, packs, [packs.c[name] for name in Pack._fields], step, conditions, after, ends):
        for event in unpack_events(Pack._make(row)):
            is_wanted = (
                event.region.startswith(region)
                and (not wanted.caller or event.caller == wanted.caller)
                and (not wanted.kinds or event.kind in wanted.kinds)
            )
            if is_wanted and _position_of(event) > after:
                yield event


def _within(table: Table, wanted: EventFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.start_time is not None:
        conditions.append(table.c.time >= wanted.start_time)
    if wanted.end_time is not None:
        conditions.append(table.c.time < wanted.end_time)
    return conditions


def _read(
    connection: Connection,
    table: Table,
    columns: Sequence[ColumnElement[Any]],
    step: int,
    conditions: Sequence[ColumnElement[bool]] = (),
    after: Position = BEGINNING,
    last_sequence: ColumnElement[int] | None = None,
) -> Iterator[Any]:
    """Yield the rows whose last sequence comes after a position, by time. Each statement reads `step` rows."""
    order = (table.c.time, table.c.writer_id, table.c.sequence)
    while True:
        later = or_(
            tuple_(*order[:2]) > tuple_(after.time, after.writer_id),
            and_(
                table.c.time == after.time,
                table.c.writer_id == after.writer_id,
                (table.c.sequence if last_sequence is None else last_sequence) > after.sequence,
            ),
        )
        # This condition follows from the one above. The index is used only if the condition has this form.
        from_time = table.c.time >= after.time
        query = select(*columns, *order).where(from_time, later, *conditions).order_by(*order).limit(step)
        found = connection.execute(query).all()
        for row in found:
            yield row[: len(columns)]
        if len(found) < step:
            return
        after, last_sequence = Position(*found[-1][len(columns) :]), None


def export_events(connection: Connection, tables: AuditTables, since: Instant) -> Iterator[StoredEvent]:
    """Yield all events from an instant on, by time."""
    return _find(connection, tables, EventFilter(start_time=since), BEGINNING, _STEP)


def find_events(
    connection: Connection,
    tables: AuditTables,
    keys: AuditKeys,
    subject_keys: Sequence[bytes],
    now: Instant,
    names: Sequence[str] = (),
) -> list[StoredEvent]:
    """Return all events about a person, in order of time.

    Events are found under each version of the audit's keys that `keys` knows or the store keeps. A subject has another
    tag on each day, so events are compared with the tags of every day. The tables of rows and of packs are read from
    beginning to end.

    Args:
        connection: the service's database.
        tables: the tables of the service's audit.
        keys: the keys of the service's audit.
        subject_keys: the subject keys of the person's documents.
        now: the current instant.
        names: names of resources about the person, such as decisions. Their events have no tag.
    """
    versions = add_kept_keys(connection, tables, keys).versions
    objects = sorted({one.name_object(name) for name in names for one in versions})
    found = [
        *_find_rows_about(connection, tables, versions, subject_keys, now, objects),
        *_find_packed_about(connection, tables, versions, subject_keys, objects),
    ]
    return sorted(found, key=_position_of)


def _find_rows_about(
    connection: Connection,
    tables: AuditTables,
    versions: Sequence[AuditKeys],
    subject_keys: Sequence[bytes],
    now: Instant,
    objects: Sequence[str],
) -> Iterator[StoredEvent]:
    rows = tables.rows
    oldest = connection.execute(select(func.min(rows.c.time))).scalar()
    if oldest is None:
        return
    columns = [rows.c[name] for name in StoredEvent._fields]
    first = max(day_of(oldest), day_of(now - KEPT[Chain.CHANGES] - DAY))
    days = range(first, day_of(now) + 2)
    tags = [keys.subject_tag(key, day) for keys in versions for key in subject_keys for day in days]
    for start in range(0, len(tags), _AT_ONCE):
        query = select(*columns).where(rows.c.subject_tag.in_(tags[start : start + _AT_ONCE]))
        yield from map(StoredEvent._make, connection.execute(query))
    for start in range(0, len(objects), _AT_ONCE):
        of_name = rows.c.object.in_(objects[start : start + _AT_ONCE])
        query = select(*columns).where(of_name, rows.c.subject_tag.is_(None))
        yield from map(StoredEvent._make, connection.execute(query))


def _find_packed_about(
    connection: Connection,
    tables: AuditTables,
    versions: Sequence[AuditKeys],
    subject_keys: Sequence[bytes],
    objects: Sequence[str],
) -> Iterator[StoredEvent]:
    # Packs come in order of time, so the tags of each day are made only once.
    made: tuple[int, set[bytes]] = (-1, set())
    for pack in _all_packs(connection, tables):
        day = day_of(pack.time)
        if made[0] != day:
            made = day, {keys.subject_tag(key, day) for keys in versions for key in subject_keys}
        tags = made[1]
        # Most packs contain none of the tags, and are skipped without being unpacked.
        if any(tag in pack.tags for tag in tags) or any(name in pack.events for name in objects):
            for event in unpack_events(pack):
                if event.subject_tag in tags or (event.subject_tag is None and event.object in objects):
                    yield event


def count_bulk_reads(connection: Connection, tables: AuditTables) -> list[BulkReads]:
    """Return the callers, methods and sums of the reads of many persons. These reads have no tag."""
    counts: Counter[tuple[str, str, str]] = Counter()
    items: Counter[tuple[str, str, str]] = Counter()
    rows = tables.rows
    old = select(*(rows.c[name] for name in StoredEvent._fields)).where(
        rows.c.kind == int(AuditKind.READ), rows.c.subject_tag.is_(None)
    )
    packed = (event for pack in _all_packs(connection, tables) if NO_TAG in pack.tags for event in unpack_events(pack))
    for event in chain(map(StoredEvent._make, connection.execute(old)), packed):
        # An event with the name of a decision is about one person, who is found by that name.
        is_bulk = event.subject_tag is None and event.item_count > 0 and not event.object.startswith("decisions/")
        if is_bulk and event.kind == AuditKind.READ:
            of = event.role, event.caller, event.method
            counts[of] += 1
            items[of] += event.item_count
    return [BulkReads(*of, counts[of], items[of]) for of in sorted(counts)]


def _all_packs(connection: Connection, tables: AuditTables) -> Iterator[Pack]:
    packs = tables.packs
    return map(Pack._make, _read(connection, packs, [packs.c[name] for name in Pack._fields], _STEP))
