"""Where the exchange keeps its books: the database's executors around the plain functions of this room."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from hutong.results.v1.exchange_service_pb2 import ReplicateBatch
from sqlalchemy import Connection, Engine

from services.domain.instant import Instant, Span, from_timestamp
from services.domain.region import NATION
from services.results.exchange.upstream.link import acknowledgements
from services.results.exchange.downstream import nodes
from services.results.exchange.upstream.link import outbox
from services.results.exchange.model import Change, Replica, ReplicaTubes, WriterPosition
from services.results.exchange.upstream.acknowledgements import Arrived
from services.results.exchange.downstream.nodes import Log, Node
from services.results.exchange.upstream.outbox import Page
from services.results.exchange.apply import Arrival, FormedTubes, apply_changes, form_tubes
from services.results.records.row_format import row_form
from services.runtime.clock import Clock
from services.storage.engine import Database

_SENDER_LOCK = 0x48755065
"""Of the advisory lock that the one process of a province holds which sends its changes to the nation."""


class Decoded(NamedTuple):
    """What a replicated batch holds."""

    tubes: Sequence[FormedTubes]
    changes: Sequence[Change]


class ExchangeStore:
    """The books of a node: of the nation on its provinces, of a province on what it sent."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        jurisdiction: str,
        make_months: Callable[[Sequence[Instant]], Awaitable[None]],
    ) -> None:
        self._database = database
        self._clock = clock
        self._jurisdiction = jurisdiction
        self._make_months = make_months
        self._form = row_form(database.engine.dialect.name)

    async def list_nodes(self) -> list[Node]:
        """The nodes that replicate to this one."""
        return await self._database.read(nodes.list_nodes)

    async def open_log(self, log: Log, removed: Sequence[WriterPosition], skew: Span) -> list[WriterPosition]:
        """How far a node's writers are known here."""
        return await self._database.write(nodes.open_log, log, removed, skew, self._clock.now())

    async def note_checkpoint(self, region: str, as_of_time: Instant | None, backlog: int, skew: Span | None) -> None:
        """Take a node's heartbeat down."""
        await self._database.write(nodes.note_checkpoint, region, as_of_time, backlog, skew, self._clock.now())

    def form_rows(self, tubes: ReplicaTubes) -> FormedTubes:
        """Tubes ready to be stored here. Needs no database: for a thread beside the one that stores."""
        return form_tubes(self._form, tubes)

    async def apply_batch(self, log: Log, batch: ReplicateBatch, decoded: Decoded) -> tuple[int, Instant]:
        """Make a batch that holds this durable: how many of its writer's commits are now, and since when.

        Raises:
            OutOfRange: UPLOAD_GAP, the batch begins beyond what is committed.
        """
        filed = [change.result.file_time for change in decoded.changes if isinstance(change, Replica)]
        await self._make_months([*filed, *(time for formed in decoded.tubes for time in formed.tubes.file_times())])
        now = self._clock.now()
        committed, conflict_count = await self._database.write(self._apply, log, batch, decoded, now)
        if conflict_count:
            # Apart: notices take nodes' rows in an order of their own.
            await self._database.write(nodes.note_conflicts, log.node, conflict_count)
        return committed, now

    def _apply(
        self, connection: Connection, log: Log, batch: ReplicateBatch, decoded: Decoded, now: Instant
    ) -> tuple[int, int]:
        """How many commits are durable now, and how many reports stand already as another node sent them."""
        conflict_count = 0
        committed = nodes.lock_place(connection, log, batch.writer)
        if batch.offset > committed:
            raise nodes.replication_gap(committed, batch.offset)
        # Beyond its complete commits a batch may hold a part of the next one: that is durable once a later one is.
        if batch.next_offset >= committed:
            applied = apply_changes(connection, decoded.changes, Arrival(NATION, log.node, now), decoded.tubes)
            conflict_count = applied.conflict_count
        if batch.next_offset > committed:
            committed = batch.next_offset
            commit_time = from_timestamp(batch.commit_time) if batch.HasField("commit_time") else None
            nodes.move_place(connection, log, WriterPosition(batch.writer, committed, commit_time))
        return committed, conflict_count

    async def read_log_id(self) -> str:
        """The identity of this node's log."""
        return await self._database.write(outbox.read_log_id)

    async def removed_positions(self) -> list[WriterPosition]:
        """Of how many commits of each writer retention has removed the entries."""
        return await self._database.read(outbox.removed_positions)

    async def is_of_this_log(self, positions: Sequence[WriterPosition]) -> bool:
        """Whether what the nation knows can have come from this log."""
        return await self._database.read(outbox.is_of_this_log, positions)

    async def renew_log_id(self) -> None:
        """Begin the log anew at the nation."""
        await self._database.write(outbox.renew_log_id)

    async def append_registers(self) -> None:
        """Log every laboratory and every link."""
        await self._database.write(outbox.append_registers, self._clock.now())

    async def read_page(self, sent: Mapping[int, int]) -> Page:
        """What comes after the commits that were sent."""
        return await self._database.read(outbox.read_page, sent, self._jurisdiction)

    async def count_unacknowledged(self, acknowledged: Mapping[int, int] | None) -> int:
        """Commits beyond those that the nation acknowledged: as they are given, or else as they were taken down."""
        return await self._database.read(acknowledgements.count_unacknowledged, acknowledged)

    async def note_arrived(self, commits: Sequence[Arrived]) -> None:
        """Take down that the nation has these commits."""
        await self._database.write(acknowledgements.note_arrived, commits)

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[bool]:
        """Whether this process is the one that sends, for as long as the block lasts. On SQLite there is no other."""
        if self._database.is_sqlite:
            yield True
            return
        turn = _Turn(self._database.engine)
        try:
            yield await asyncio.to_thread(turn.take)
        finally:
            await asyncio.to_thread(turn.leave)


class _Turn:
    """An advisory lock of PostgreSQL, held by a session of its own. Used from threads, of which one may be late."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._connection: Connection | None = None
        self._left = False

    def take(self) -> bool:
        """Whether it was free."""
        connection = self._engine.connect()
        with self._guard:
            if self._left:
                connection.close()
                return False
            self._connection = connection
            return bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_SENDER_LOCK})").scalar_one())

    def leave(self) -> None:
        """Give it back, with the session: it does not go back to the pool."""
        with self._guard:
            self._left = True
            if self._connection is not None:
                self._connection.invalidate()
                self._connection.close()
