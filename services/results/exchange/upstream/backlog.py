"""What a province has committed and the nation has not acknowledged, counted whether the nation is there or not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from prometheus_client import Gauge

from services.results.exchange.model import WriterPosition
from services.results.exchange.upstream.store import UpstreamStore
from services.results.timing import ResultsTiming

BACKLOG = Gauge("hutong_replication_backlog_commits", "Commits that the national node does not have yet")

_log = structlog.get_logger(__name__)


class Backlog:
    """Keeps the gauge for as long as the service runs.

    What the nation has told this process counts: one that was restored from a backup has less than it once had. Before
    it has told anything, and in a process that does not send, what is stored of its answers has to do.
    """

    def __init__(self, store: UpstreamStore, timing: ResultsTiming) -> None:
        self._timing = timing
        self._store = store
        self._acknowledged: dict[int, int] | None = None
        self._is_failing = False

    def begin_from(self, positions: Iterable[WriterPosition]) -> None:
        """The nation says where a stream is to go on."""
        self._acknowledged = {position.writer: position.offset for position in positions}

    def note(self, positions: Iterable[WriterPosition]) -> None:
        """The nation acknowledges commits up to these."""
        if self._acknowledged is not None:
            self._acknowledged |= {position.writer: position.offset for position in positions}

    def leave(self) -> None:
        """Another process sends: what the nation says is not heard here."""
        self._acknowledged = None

    async def run(self) -> None:
        """Count until cancelled. A background job."""
        while True:
            try:
                BACKLOG.set(await self._store.count_unacknowledged(self._acknowledged))
                self._is_failing = False
            except Exception:  # noqa: BLE001 - whatever it is, the next try may do
                if not self._is_failing:
                    _log.exception("the backlog of the replication is not counted")
                self._is_failing = True
            await asyncio.sleep(self._timing.backlog_count)
