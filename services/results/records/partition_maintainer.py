"""Creates the monthly partitions of results in advance, so that the first report of a month does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from hutong_texts import english

from services.domain.errors import Unavailable
from services.domain.instant import Instant
from services.results.records import partitions
from services.results.records.partitions import Month, months_ahead, months_of
from services.results.timing import ResultsTiming
from services.runtime.clock import Clock
from services.storage.engine import Database

_log = structlog.get_logger(__name__)


class PartitionMaintainer:
    """Creates partitions in advance by a background job, and at once for the months of a batch.

    SQLite has no partitions.
    """

    def __init__(self, database: Database, clock: Clock, timing: ResultsTiming) -> None:
        self._database = database
        self._clock = clock
        self._timing = timing
        self._known: set[Month] = set()

    async def prepare(self, reference_times: Sequence[Instant]) -> None:
        """Create the missing partitions for results with these reference times.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, another transaction locks the table for too long.
        """
        await self._prepare_months(months_of(reference_times))

    async def prepare_ahead(self) -> None:
        """Create the missing partitions for results of this month and the next."""
        await self._prepare_months(months_ahead(self._clock.now()))

    async def run(self) -> None:
        """Create partitions in advance until cancelled. A background job."""
        while True:
            ready = await self._try()
            await asyncio.sleep(self._timing.partition_interval if ready else self._timing.partition_retry)

    async def _try(self) -> bool:
        try:
            await self.prepare_ahead()
            _log.debug("months ready")
        except Exception as error:  # noqa: BLE001 - an upload creates its own month, and the next try may succeed
            _log.warning("months not ready", error=type(error).__name__)
            return False
        return True

    async def _prepare_months(self, months: set[Month]) -> None:
        unknown = months - self._known
        if not unknown:
            return
        if not self._database.is_sqlite:
            missing = await self._database.read(partitions.find_missing, unknown)
            if missing:
                await self._make(missing)
        self._known |= unknown

    async def _make(self, months: set[Month]) -> None:
        for _ in range(self._timing.partition_tries):
            if await self._database.write(partitions.make_partitions, months):
                return
            await asyncio.sleep(self._timing.partition_try_pause)
        text = english("the partition for these results cannot be created now; try again")
        raise Unavailable("DATABASE_UNAVAILABLE", text, metadata={"service": "results"})
