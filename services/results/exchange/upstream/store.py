"""What a node has sent to the node above, and what that one has acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Mapping, Sequence

from sqlalchemy import Connection, Engine

from services.results.exchange.model import WriterPosition
from services.results.exchange.upstream import acknowledgements, outbox
from services.results.exchange.upstream.acknowledgements import Arrived
from services.results.exchange.upstream.outbox import Page
from services.runtime.clock import Clock
from services.storage.engine import Database

_SENDER_LOCK = 0x48755065
"""Of the advisory lock that the one process of a node holds which sends its changes to the node above."""


class UpstreamStore:
    """The change log as it is sent, in the database."""

    def __init__(self, database: Database, clock: Clock, jurisdiction: str) -> None:
        self._database = database
        self._clock = clock
        self._jurisdiction = jurisdiction

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
