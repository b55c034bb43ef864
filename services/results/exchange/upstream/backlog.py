"""The backlog: commits that the node above has not acknowledged.

The backlog is counted even while there is no connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from prometheus_client import Gauge

from services.results.exchange.model import WriterPosition
from services.results.exchange.upstream.store import UpstreamStore
from services.results.timing import ResultsTiming

BACKLOG = Gauge("hutong_replication_backlog_commits", "Commits that the node above does not have yet")

_log = structlog.get_logger(__name__)


class Backlog:
    """Keeps the gauge of the backlog up to date.

    While this process sends, the backlog is counted from the positions that the node above returned to this process. If
    the node above was restored from a backup, it has less than it had acknowledged before. While another process sends,
    the backlog is counted from the recorded acknowledgements.
    """

    def __init__(self, store: UpstreamStore, timing: ResultsTiming) -> None:
        self._timing = timing
        self._store = store
        self._acknowledged: dict[int, int] | None = None
        self._is_failing = False

    def start_from(self, positions: Iterable[WriterPosition]) -> None:
        """Record the positions with which the node above answered a new stream."""
        self._acknowledged = {position.writer: position.offset for position in positions}

    def acknowledge(self, positions: Iterable[WriterPosition]) -> None:
        """Record the positions that the node above acknowledges."""
        if self._acknowledged is not None:
            self._acknowledged |= {position.writer: position.offset for position in positions}

    def forget(self) -> None:
        """Forget the positions of the node above, because another process sends now and receives the answers."""
        self._acknowledged = None

    async def run(self) -> None:
        """Count the backlog until cancelled. A background job."""
        while True:
            try:
                BACKLOG.set(await self._store.count_unacknowledged(self._acknowledged))
                self._is_failing = False
            except Exception:  # noqa: BLE001 - the next count may succeed
                if not self._is_failing:
                    _log.exception("the backlog of the replication is not counted")
                self._is_failing = True
            await asyncio.sleep(self._timing.backlog_count)
