"""Stores the counts of a process every few seconds, and at the end."""

from __future__ import annotations

import asyncio

import structlog

from services.domain.errors import HutongError
from services.storage.engine import Database
from services.verification.decision_counts.counter import DecisionCounter
from services.verification.decision_counts.store import add_counts

STORE_SECONDS = 5.0
"""The time between two writes. A process that is killed loses the counts of this time."""

_log = structlog.get_logger(__name__)


class DecisionCountRecorder:
    """Stores what a counter has counted. `own` is the region of this node."""

    def __init__(self, database: Database, counter: DecisionCounter, own: str, seconds: float = STORE_SECONDS) -> None:
        self._database = database
        self._counter = counter
        self._own = own
        self._seconds = seconds

    async def run(self) -> None:
        """Store the counts again and again until cancelled. A background job."""
        while True:
            await asyncio.sleep(self._seconds)
            await self.store()

    async def store(self) -> None:
        """Store the counts. If the database cannot be reached, they are stored with the next ones."""
        counts = self._counter.take()
        if not counts:
            return
        try:
            await self._database.write(add_counts, self._own, counts)
        except HutongError as error:
            _log.warning("counts of decisions are not stored yet", why=error.reason)
            self._counter.put_back(counts)
