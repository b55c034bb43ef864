"""Stores the counts of a process every few seconds, and at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog

from services.domain.errors import HutongError
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.storage.engine import Database
from services.verification.decision_counts.counter import DecisionCounter
from services.verification.decision_counts.model import CountBatch
from services.verification.decision_counts.store import add_batch

STORE_SECONDS = 5.0
"""The time between two writes. A process that is killed loses the counts of this time."""

_log = structlog.get_logger(__name__)


class DecisionCountRecorder:
    """Stores what a counter has counted. `own` is the region of this node."""

    def __init__(
        self, database: Database, counter: DecisionCounter, own: str, clock: Clock, seconds: float = STORE_SECONDS
    ) -> None:
        self._database = database
        self._counter = counter
        self._own = own
        self._clock = clock
        self._seconds = seconds
        self._unsettled: CountBatch | None = None
        self._last_id = ""

    async def run(self) -> None:
        """Store the counts again and again until cancelled. A background job."""
        while True:
            await asyncio.sleep(self._seconds)
            await self.store()

    async def store(self) -> None:
        """Store what was counted since the last call.

        If the database cannot be reached or the call is cancelled, a later call stores the counts. Each decision is
        counted once, even if the database had stored counts of the failed call.
        """
        for batch in self._batches():
            self._unsettled = batch
            try:
                await self._database.write(add_batch, self._own, batch, self._last_id, self._clock.now())
            except HutongError as error:
                _log.warning("counts of decisions are not stored yet", why=error.reason)
                return
            self._last_id, self._unsettled = batch.id, None

    def _batches(self) -> Iterator[CountBatch]:
        """Yield the batch whose last write may have failed, if there is one; then a batch of what was counted since."""
        if self._unsettled is not None:
            yield self._unsettled
        if counts := self._counter.take():
            yield CountBatch(uuid7(), counts)
