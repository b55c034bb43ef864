"""Stores of Results for the storage tests, and readers of their rows."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from hutong.results.v1 import upload_pb2
from sqlalchemy import Connection, insert, select, text

from services.domain.instant import Instant
from services.domain.region import NATION
from services.domain.subject import Pepper
from services.results.labs.model import Lab
from services.results.labs.tables import labs
from services.results.limits import ResultsLimits
from services.results.records.partitions import list_partitions
from services.results.records.tables import results
from services.results.stores import Stores
from services.results.timing import ResultsTiming
from services.results.upload.model import Acknowledgement, UploadPosition
from services.runtime.clock import FixedClock
from services.storage.advisory_locks import AdvisoryLock
from services.storage.engine import Database, open_database
from tests.support.results.factories import NOW, PEPPER, USCC, validate_batch
from tests.support.waiting import TIMEOUT_SECONDS, until


class Laboratory:
    """A store, and a laboratory that uploads to it as a series of streams would."""

    def __init__(
        self,
        database: Database,
        clock: FixedClock,
        source_node: str = "220000",
        limits: ResultsLimits | None = None,
        timing: ResultsTiming | None = None,
        node: str = "",
    ) -> None:
        """`node` is the region of the store's node. Only the nation and nodes with nodes below them need it."""
        self.database = database
        self.clock = clock
        node = node or (NATION if source_node == NATION else "")
        self.stores = Stores(database, clock, PEPPER.secrets, node, limits=limits, timing=timing)
        self.dialect = database.engine.dialect.name
        self._source_node = source_node

    def with_limits(self, **limits: int) -> Laboratory:
        """Return this laboratory with a store of other limits on the same database."""
        return Laboratory(self.database, self.clock, self._source_node, ResultsLimits(**limits))

    def position(self, upload_id: str = "u") -> UploadPosition:
        """Return the position with which a new stream of an upload begins."""
        return UploadPosition(USCC, upload_id, self._source_node)

    async def send(
        self,
        tubes: Sequence[upload_pb2.Tube],
        offset: int = 0,
        *,
        upload_id: str = "u",
        position: UploadPosition | None = None,
        lab: Lab | None = None,
        now: Instant = NOW,
        items: Sequence[str] = ("",),
        pepper: Pepper = PEPPER,
    ) -> Acknowledgement:
        """Validate and commit one batch, by a new stream unless the position of one is given."""
        batch = validate_batch(tubes, offset, dialect=self.dialect, lab=lab, items=items, pepper=pepper)
        return await self.stores.uploads.commit_batch(position or self.position(upload_id), batch, now)

    async def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        """Return columns of every stored revision, in the order of report number and revision."""

        def work(connection: Connection) -> list[tuple[Any, ...]]:
            query = select(*(results.c[name] for name in columns)).order_by(results.c.report_number, results.c.revision)
            return [tuple(row) for row in connection.execute(query)]

        return await self.database.read(work)

    async def numbers(self) -> list[str]:
        """Return the report numbers of all stored revisions."""
        return [number for (number,) in await self.rows("report_number")]


@contextlib.asynccontextmanager
async def open_laboratory(url: str) -> AsyncIterator[Laboratory]:
    """Open a laboratory with a store on a database until the block ends."""
    database = open_database(url)
    try:
        yield Laboratory(database, FixedClock(NOW))
    finally:
        database.close()


def remove_months(database: Database) -> None:
    """Drop the partitions that databases of tests have from the beginning, on PostgreSQL."""

    def drop(connection: Connection) -> None:
        for partition in list_partitions(connection):
            connection.execute(text(f"DROP TABLE {partition.name}"))

    database.write_now(drop)


async def commit_first(
    database: Database,
    work: Callable[[Connection], None],
    later: Awaitable[object],
    lock: AdvisoryLock = AdvisoryLock.SUBSCRIPTION,
) -> None:
    """Run two commits on PostgreSQL. The second one waits for the lock until the first one ends.

    `work` is the first commit. `later` makes the second one, and begins once `work` has stored its part.
    """
    stored, may_end = threading.Event(), threading.Event()

    def commit(connection: Connection) -> None:
        work(connection)
        stored.set()
        assert may_end.wait(TIMEOUT_SECONDS)

    earlier = asyncio.ensure_future(database.write(commit))
    await asyncio.to_thread(stored.wait, TIMEOUT_SECONDS)
    second = asyncio.ensure_future(later)

    async def waits() -> bool:
        return second.done() or await database.read(_count_waiting, lock) == 1

    await until(waits)
    assert not second.done()
    may_end.set()
    await asyncio.gather(earlier, second)


def _count_waiting(connection: Connection, lock: AdvisoryLock) -> int:
    """Return how many transactions wait for a lock."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = :lock"
    count: int = connection.execute(text(query), {"lock": lock}).scalar_one()
    return count


def counts(acknowledgement: Acknowledgement) -> tuple[int, int, int, int]:
    """Return the committed offset and the counts of accepted, duplicate and rejected persons."""
    return (
        acknowledgement.committed_offset,
        acknowledgement.accepted_count,
        acknowledgement.duplicate_count,
        acknowledgement.rejected_count,
    )


def rejected(acknowledgement: Acknowledgement) -> list[tuple[int, int, list[str]]]:
    """Return the tube, person and reasons of each rejection."""
    return [
        (rejection.tube_index, rejection.person_index, [violation.reason for violation in rejection.violations])
        for rejection in acknowledgement.rejections
    ]


def add_lab(connection: Connection, code: str, region: str) -> None:
    """Register a laboratory by its row alone."""
    row = {"uscc": code, "display_name": "laboratory", "region": region, "contact": "", "create_time": NOW}
    connection.execute(insert(labs), row)
