"""Writes the rows of the audit.

The row of a change is written in the transaction of the change. Rows of reads share transactions. Rows are numbered and
chained by a writer. A change locks a free writer until its commit. The reads of a process have a writer of their own.
The process keeps the state of this writer in memory, because there are thousands of reads a second.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, insert, select

from services.audit.keys import AuditKeys
from services.audit.model import Chain
from services.audit.packs import Pack, chain_pack, pack_events, split_events
from services.audit.rows import BEGINNING, COLUMNS, chain_rows, row_text
from services.audit.tables import AuditTables
from services.domain.instant import MINUTE, Instant, shanghai_day
from services.runtime.audit import AuditEvent, AuditKind
from services.runtime.client.coalescer import Coalescer
from services.runtime.clock import Clock
from services.runtime.tracing.spans import child_span
from services.storage.engine import Database

Also = Callable[[Connection], None]
"""An operation of a transaction besides storing rows."""


ROWS_A_MINUTE = 1_000
"""The most rows of refused calls of one caller in a minute. All callers without a name count as one."""
_DENIAL = int(AuditKind.DENIAL)

_Recorded: TypeAlias = tuple[Sequence[AuditEvent], Also | None]


class _Writer(NamedTuple):
    """The state of a writer: the sequence of its newest row, and the digest of all its rows."""

    writer_id: int
    sequence: int
    digest: bytes


class _WriterTaken(Exception):
    """Another transaction has used the writer meanwhile."""


class Trail:
    """The audit of one service. It implements `services.runtime.audit.AuditTrail`.

    Attributes:
        region: the region of the node.
        hide: returns the keyed hash of a text as hexadecimal.
        name_object: returns a resource name as the audit stores it.
    """

    def __init__(self, database: Database, tables: AuditTables, keys: AuditKeys, region: str, clock: Clock) -> None:
        self.region = region
        self._database = database
        self._tables = tables
        self._keys = keys
        self._clock = clock
        self._statements = _Statements(tables)
        # These are the functions of the keys themselves. A method around each of them would cost time in each Verify.
        self.hide = keys.hide
        self.name_object = keys.name_object
        self._together: Coalescer[_Recorded, None] = Coalescer(self._record_batch, name="audit batch")
        self._denials = DenialLimit()
        # The writer of this process's reads. It is None before the first read, and after a failed write, because a
        # write may have been committed although it seemed to fail.
        self._own: _Writer | None = None

    def now(self) -> Instant:
        """Return the current instant."""
        return self._clock.now()

    def tag_at(self, time: Instant) -> Callable[[bytes], bytes]:
        """Return the function that makes the keyed hash of a person and the day of an instant."""
        return self._keys.tagger(shanghai_day(time))

    def insert(self, connection: Connection, events: Sequence[AuditEvent]) -> None:
        """Insert the rows of a change inside its transaction.

        Call this method last, because the transaction locks a writer from here on. On PostgreSQL a transaction never
        waits for another transaction's writer. There are never more writers of changes than there were concurrent
        transactions.
        """
        writers = self._tables.writers
        free = (
            select(writers)
            .where(writers.c.chain == int(Chain.CHANGES))
            .order_by(writers.c.writer_id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = connection.execute(free).first()
        if row is None:
            writer = self._new_writer(connection, Chain.CHANGES)
        else:
            writer = _Writer(row.writer_id, row.newest_sequence, row.digest)
        with child_span("audit rows", {"hutong.batch.size": len(events)}):
            self._statements.append(connection, writer, events)

    async def record(self, events: Sequence[AuditEvent], also: Also | None = None) -> None:
        """Store the rows of reads and denials. They are durable when this returns. Several calls share one transaction.

        Beyond a limit, denials of one caller are summed up (`DenialLimit`). `also` takes part in the transaction.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        if also is None:
            events = self._denials.limit(events)
        if events:
            await self._together.ask((events, also))

    async def record_sums(self, *, all_of_them: bool = False) -> None:
        """Store the sums of denials of earlier minutes.

        At the end of the service, store those of the current minute too.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE. The sums are kept for the next attempt. If the transaction was committed
                although it seemed to fail, their calls are counted twice.
        """
        sums = self._denials.take_sums(None if all_of_them else self.now())
        if not sums:
            return
        try:
            # If this job ends meanwhile, the sums are stored nevertheless.
            await asyncio.shield(self._together.ask((sums, None)))
        except Exception:
            self._denials.put_back(sums)
            raise

    def record_now(self, events: Sequence[AuditEvent]) -> None:
        """Store the rows of a command's reads, in the calling thread and under a writer of their own."""
        self._database.write_now(self._store, None, events, (), is_alone=False)

    async def _record_batch(self, batch: list[_Recorded]) -> Sequence[None]:
        events = [event for events, _ in batch for event in events]
        besides = [also for _, also in batch if also is not None]
        own, self._own = self._own, None
        try:
            if own is not None and not besides and not self._database.is_sqlite:
                self._own = await self._append_alone(own, events)
            else:
                self._own = await self._database.write(self._store, own, events, besides)
        except _WriterTaken:
            # Another process uses the writer. That process keeps the writer, and this process takes a new one.
            self._own = await self._database.write(self._store, None, events, besides, is_alone=False)
        return [None] * len(batch)

    async def _append_alone(self, own: _Writer, events: Sequence[AuditEvent]) -> _Writer:
        for pack, after, advanced in _chained_packs(own, events):
            if await self._database.write_alone(self._statements.append_pack, (*advanced, *pack[1:])) != 1:
                raise _WriterTaken
            own = after
        return own

    def _store(
        self,
        connection: Connection,
        own: _Writer | None,
        events: Sequence[AuditEvent],
        besides: Sequence[Also],
        *,
        is_alone: bool = True,
    ) -> _Writer:
        for also in besides:
            also(connection)
        if own is None:
            own = (self._newest_writer(connection) if is_alone else None) or self._new_writer(connection, Chain.READS)
        return self._statements.append_packs(connection, own, events)

    def _newest_writer(self, connection: Connection) -> _Writer | None:
        """Return the newest writer of reads; None if there is none. Another process may be using this writer."""
        writers = self._tables.writers
        query = select(writers).where(writers.c.chain == int(Chain.READS)).order_by(writers.c.writer_id.desc()).limit(1)
        row = connection.execute(query).first()
        return None if row is None else _Writer(row.writer_id, row.newest_sequence, row.digest)

    def _new_writer(self, connection: Connection, chain: Chain) -> _Writer:
        writers = self._tables.writers
        new = insert(writers).values(chain=int(chain), newest_sequence=0, digest=BEGINNING)
        return _Writer(connection.execute(new.returning(writers.c.writer_id)).scalar_one(), 0, BEGINNING)


class DenialLimit:
    """Lets the first denials of each caller and minute pass, and sums up the rest.

    Otherwise a caller without any permission could fill the disk of the database. A sum is an event with the number of
    refused calls as its `item_count`, and without a person and an object. There is at most one for each minute, caller,
    method and code. The time of a denial is its minute.
    """

    def __init__(self, rows_a_minute: int = ROWS_A_MINUTE) -> None:
        self._rows_a_minute = rows_a_minute
        self._minute: Instant = 0
        self._rows: Counter[str] = Counter()
        self._sums: dict[tuple[Instant, str, str, str, int], AuditEvent] = {}

    def limit(self, events: Sequence[AuditEvent]) -> Sequence[AuditEvent]:
        """Return the events that are to be stored now. Add the others to the sums."""
        return [event for event in events if event.kind != _DENIAL or self._is_stored(event)]

    def take_sums(self, now: Instant | None = None) -> list[AuditEvent]:
        """Return the sums and forget them. If `now` is given, sums of its minute stay."""
        minute = None if now is None else now - now % MINUTE
        return [self._sums.pop(of) for of in list(self._sums) if of[0] != minute]

    def put_back(self, sums: Sequence[AuditEvent]) -> None:
        """Add sums that could not be stored to those of the newest minute with denials.

        While the database is away, the number of sums therefore does not grow with the time.
        """
        for one in sums:
            self._add(one._replace(time=self._minute), one.item_count)

    def _is_stored(self, event: AuditEvent) -> bool:
        """Whether a denial gets a row of its own. If not, add it to the sum of its minute, caller, method and code."""
        if event.time != self._minute:
            self._minute = event.time
            self._rows.clear()
        self._rows[event.caller] += 1
        if self._rows[event.caller] <= self._rows_a_minute:
            return True
        self._add(event, 1)
        return False

    def _add(self, event: AuditEvent, count: int) -> None:
        of = (event.time, event.caller, event.role, event.method, event.code)
        known = self._sums.get(of)
        if known is None:
            known = event._replace(
                request_id="", on_behalf_of="", purpose=0, object="", subject_tag=None, case_id="", item_count=0
            )
        self._sums[of] = known._replace(item_count=known.item_count + count)


class _Statements:
    """Appends rows by the fastest way of each engine: COPY on PostgreSQL, one prepared statement on SQLite.

    Attributes:
        append_pack: advances a writer and inserts a pack on PostgreSQL, with parameters $1, $2 and so on. If the writer
            is taken, it changes no row.
    """

    def __init__(self, tables: AuditTables) -> None:
        rows = tables.rows.name
        listed = ", ".join(f'"{column}"' for column in COLUMNS)
        self._copy = f"COPY {rows} ({listed}) FROM STDIN"
        marks = ", ".join("?" * len(COLUMNS))
        self._insert = f"INSERT INTO {rows} ({listed}) VALUES ({marks})"  # noqa: S608 - names of columns
        self._advance = (
            f"UPDATE {tables.writers.name} SET newest_sequence = %s, digest = %s"  # noqa: S608 - a name of a table
            " WHERE writer_id = %s AND newest_sequence = %s"
        )
        self._advance_sqlite = self._advance.replace("%s", "?")
        packs = tables.packs.name
        listed = ", ".join(f'"{column}"' for column in Pack._fields)
        marks = ", ".join(["%s"] * (len(Pack._fields) - 1))
        self._insert_pack = f"INSERT INTO {packs} ({listed}) VALUES ({'?, ' * (len(Pack._fields) - 1)}?)"  # noqa: S608
        # A single statement, so that the transaction takes one round trip.
        self._append_pack = (
            f"WITH advanced AS ({self._advance} RETURNING writer_id)"  # noqa: S608 - names of tables and columns
            f" INSERT INTO {packs} ({listed}) SELECT writer_id, {marks} FROM advanced"
        )
        numbers = count(1)
        self.append_pack = re.sub("%s", lambda _: f"${next(numbers)}", self._append_pack)

    def append(self, connection: Connection, writer: _Writer, events: Sequence[AuditEvent]) -> _Writer:
        """Append rows to a writer. Return its new state.

        Raises:
            _WriterTaken: the writer's state is not the given one. The transaction must be rolled back.
        """
        writer_id, newest, digest = writer
        texts = [row_text(writer_id, sequence, event) for sequence, event in enumerate(events, newest + 1)]
        after = _Writer(writer_id, newest + len(events), chain_rows(digest, texts))
        advanced = (after.sequence, after.digest, writer_id, newest)
        # The writer is advanced first, because on PostgreSQL this waits for another transaction that uses the writer.
        is_sqlite = connection.dialect.name == "sqlite"
        advance = self._advance_sqlite if is_sqlite else self._advance
        if connection.exec_driver_sql(advance, advanced).rowcount != 1:
            raise _WriterTaken
        if is_sqlite:
            numbered = [(writer_id, sequence, *event) for sequence, event in enumerate(events, newest + 1)]
            connection.exec_driver_sql(self._insert, numbered)
            return after
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(self._copy) as copy:
            copy.write(("\n".join(texts) + "\n").encode())
        return after

    def append_packs(self, connection: Connection, writer: _Writer, events: Sequence[AuditEvent]) -> _Writer:
        """Append the events of reads and denials to a writer, in packs. Return its new state.

        Raises:
            _WriterTaken: the writer's state is not the given one. The transaction must be rolled back.
        """
        is_sqlite = connection.dialect.name == "sqlite"
        for pack, after, advanced in _chained_packs(writer, events):
            if is_sqlite:
                if connection.exec_driver_sql(self._advance_sqlite, advanced).rowcount != 1:
                    raise _WriterTaken
                connection.exec_driver_sql(self._insert_pack, tuple(pack))
            elif connection.exec_driver_sql(self._append_pack, (*advanced, *pack[1:])).rowcount != 1:
                raise _WriterTaken
            writer = after
        return writer


def _chained_packs(
    writer: _Writer, events: Sequence[AuditEvent]
) -> Iterator[tuple[Pack, _Writer, tuple[int, bytes, int, int]]]:
    """Yield the packs of events in order.

    Each pack comes with the writer's state after the pack, and with the parameters of the statement that advances the
    writer.
    """
    for together in split_events(events):
        writer_id, newest, digest = writer
        pack = pack_events(writer_id, newest + 1, together)
        writer = _Writer(writer_id, pack.last_sequence, chain_pack(digest, pack))
        yield pack, writer, (writer.sequence, writer.digest, writer_id, newest)
