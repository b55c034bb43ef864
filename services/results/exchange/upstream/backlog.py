"""What a province has committed and the nation has not acknowledged, counted whether the nation is there or not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import structlog
from prometheus_client import Gauge

from services.results.exchange.model import WriterPosition
from services.results.exchange.upstream.store import UpstreamStore

COUNTED_EVERY_SECONDS = 1.0
"""How old the gauge may be; it costs a row for each writer of the log."""

BACKLOG = Gauge("hutong_replication_backlog_commits", "Commits that the national node does not have yet")

_log = structlog.get_logger(__name__)


class Backlog:
    """Keeps the gauge for as long as the service runs.

    What the nation has told this process counts: one that was restored from a backup has less than it once had. Before
    it has told anything, and in a process that does not send, what is stored of its answers has to do.
    """

    def __init__(self, store: UpstreamStore) -> None:
        self._store = store
        self._acknowledged: dict[int, int] | None = None
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Count from now on, in the background."""
        self._task = asyncio.ensure_future(self._keep_counting())

    async def end(self) -> None:
        """Stop counting."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

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

    async def _keep_counting(self) -> None:
        while True:
            try:
                BACKLOG.set(await self._store.count_unacknowledged(self._acknowledged))
                self._is_failing = False
            except Exception:  # noqa: BLE001 - whatever it is, the next try may do
                if not self._is_failing:
                    _log.exception("the backlog of the replication is not counted")
                self._is_failing = True
            await asyncio.sleep(COUNTED_EVERY_SECONDS)
