"""Keeps the partitions of the months to come ready while the service runs, so that no first report of one waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

INTERVAL_SECONDS = 3600.0
"""Between two looks at the calendar; the month after this one is ready weeks before it begins."""
RETRY_SECONDS = 5.0
"""After a failure: at start the database may still be away, or its schema behind."""

_log = structlog.get_logger(__name__)


class MonthKeeper:
    """Has months made in the background, again and again."""

    def __init__(self, make_months: Callable[[], Awaitable[None]]) -> None:
        self._make_months = make_months
        self._task: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Begin, without waiting."""
        self._task = asyncio.ensure_future(self._keep())

    async def end(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep(self) -> None:
        while True:
            ready = await self._try()
            await asyncio.sleep(INTERVAL_SECONDS if ready else RETRY_SECONDS)

    async def _try(self) -> bool:
        try:
            await self._make_months()
            _log.debug("months ready")
        except Exception as error:  # noqa: BLE001 - whatever it is, an upload makes its month, and the next try may do
            _log.warning("months not ready", error=type(error).__name__)
            return False
        return True
