"""Reads from a hot standby of PostgreSQL, if the standby has everything that the reader must see.

A background job asks the primary a few times a second how far its write-ahead log is flushed, and remembers the
answers. A standby that has replayed up to such a position has every commit that had ended when the primary was asked.
The clocks of the servers do not matter.

Positions of two servers can be compared only if both have the same history. The job therefore makes an entry of the
change log in each life of the primary. Only a standby that has this entry follows the primary.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import cycle
from typing import NamedTuple, TypeVar

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import Connection, select, text

from services.domain.errors import HutongError
from services.domain.instant import SECOND, Span
from services.results.changelog import tables
from services.results.changelog.append import append_barrier
from services.results.changelog.lives import find_lost
from services.results.replicas.standby import NotReplayed, Standby, StandbyFailed
from services.results.timing import ResultsTiming
from services.runtime.call import seconds_left
from services.runtime.clock import Clock
from services.runtime.consistency import LogPosition
from services.storage.engine import Database
from services.storage.life import current_life

R = TypeVar("R")

READS = Counter("hutong_replica_reads_total", "Reads for look-ups that a read replica answered", ["replica"])
FALLBACKS = Counter(
    "hutong_replica_fallbacks_total",
    "Reads for look-ups that the primary answered, though there are replicas",
    ["cause"],
)
USED = Gauge("hutong_replica_used", "Whether look-ups may be answered by a read replica: 1 or 0", ["replica"])
LAG = Gauge("hutong_replica_lag_seconds", "How far a read replica is behind the primary, at most", ["replica"])

_FLUSHED = "pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
_REPLAYED = "SELECT pg_is_in_recovery(), pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint"
_log = structlog.get_logger(__name__)


class _Note(NamedTuple):
    """At the instant `time` of `time.monotonic`, the primary's log was flushed at least up to the byte `flushed`."""

    time: float
    flushed: int


class ReadReplicas:
    """The hot standbys of Results' database. A read may be at most `lag_seconds` behind the primary."""

    def __init__(
        self, database: Database, urls: Sequence[str], lag_seconds: float, clock: Clock, timing: ResultsTiming
    ) -> None:
        self._database = database
        self._clock = clock
        self._timing = timing
        self._lag_seconds = lag_seconds
        self._standbys = [Standby(url) for url in urls]
        self._turns = cycle(self._standbys)
        self._notes: deque[_Note] = deque()
        self._lineage: LogPosition | None = None
        for standby in self._standbys:
            USED.labels(standby.name).set(0)

    async def read(
        self, work: Callable[[Connection], R], positions: Collection[LogPosition] = ()
    ) -> tuple[R, Span] | None:
        """Run `work(connection)` on a standby that has the commits of `positions` and is not too far behind.

        Return the value of `work`, and how old the state was at most. Return None if no standby answers in a short
        time; the caller then asks the primary. `work` raises NotReplayed if it needs something that the standby may
        lack.
        """
        standby = self._next()
        if standby is None:
            FALLBACKS.labels("none is fresh").inc()
            return None
        seconds = min(self._timing.replica_read, seconds_left(2 * self._timing.replica_read) / 2)

        def run(connection: Connection) -> tuple[R, Span]:
            age = self._require_fresh(connection)
            self._require_positions(connection, positions)
            return work(connection), age

        try:
            found = await standby.read(run, seconds)
        except NotReplayed as error:
            FALLBACKS.labels(str(error)).inc()
        except StandbyFailed as error:
            FALLBACKS.labels("failed").inc()
            if error.is_lost:
                self._note_use(standby, str(error))
        else:
            READS.labels(standby.name).inc()
            return found
        return None

    async def run(self) -> None:
        """Ask the primary and the standbys how far they are, until cancelled. A background job."""
        pause = min(self._timing.replica_poll, self._lag_seconds / 4)
        while True:
            try:
                await self._note_primary()
            except HutongError as error:
                _log.warning("read replicas not compared with the primary", reason=error.reason)
            await asyncio.gather(*map(self._probe, self._standbys))
            await asyncio.sleep(pause)

    def close(self) -> None:
        """Close every connection to the standbys."""
        for standby in self._standbys:
            standby.close()

    def _next(self) -> Standby | None:
        """Return the next standby in turn that was fresh at its last probe."""
        for _ in self._standbys:
            standby = next(self._turns)
            if standby.is_used:
                return standby
        return None

    async def _note_primary(self) -> None:
        """Ask the primary how far its log is flushed, and remember the answer.

        In a new life of the primary, make an entry in the change log instead.
        """
        asked = time.monotonic()
        life, flushed = await self._database.read(_read_primary)
        if self._lineage is None or self._lineage.life != life:
            self._notes.clear()
            self._lineage = await self._database.write(append_barrier, self._clock.now())
            return
        self._notes.append(_Note(asked, flushed))
        while self._notes[0].time < asked - 10 * self._lag_seconds:
            self._notes.popleft()

    async def _probe(self, standby: Standby) -> None:
        """Ask a standby whether it is fresh enough for look-ups."""
        try:
            age = await standby.read(self._require_fresh, self._timing.replica_read)
        except (NotReplayed, StandbyFailed) as error:
            self._note_use(standby, str(error))
        else:
            LAG.labels(standby.name).set(age / SECOND)
            self._note_use(standby, "")

    def _note_use(self, standby: Standby, cause: str) -> None:
        """Remember whether a standby is used, and log each change.

        `cause` says why the standby is not used; empty if it is used.
        """
        is_used = not cause
        if standby.is_used and not is_used:
            _log.warning("read replica not used", replica=standby.name, cause=cause)
        elif is_used and not standby.is_used:
            _log.info("read replica used", replica=standby.name)
        standby.is_used = is_used
        USED.labels(standby.name).set(is_used)
        if cause:
            LAG.labels(standby.name).set(float("nan"))

    def _require_fresh(self, connection: Connection) -> Span:
        """Check that a standby follows the primary and is not too far behind. Return how old its state is at most.

        Raises:
            NotReplayed: it is a primary itself, follows another primary, or is too far behind.
        """
        now, notes, lineage = time.monotonic(), list(self._notes), self._lineage
        if not notes or lineage is None or notes[-1].time < now - self._lag_seconds:
            raise NotReplayed("primary not asked")
        is_standby, replayed = connection.exec_driver_sql(_REPLAYED).one()
        if not is_standby:
            raise NotReplayed("promoted")
        reached = [note.time for note in notes if replayed is not None and note.flushed <= replayed]
        if not reached or reached[-1] < now - self._lag_seconds:
            raise NotReplayed("lag")
        if find_lost(connection, [lineage]):
            raise NotReplayed("another history")
        return round((now - reached[-1]) * SECOND)

    @staticmethod
    def _require_positions(connection: Connection, positions: Collection[LogPosition]) -> None:
        if positions and find_lost(connection, positions):
            raise NotReplayed("token")


def _read_primary(connection: Connection) -> tuple[str, int]:
    life, flushed = connection.execute(select(current_life(connection, tables.changes), text(_FLUSHED))).one()
    return life, flushed
