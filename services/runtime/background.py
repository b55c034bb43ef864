"""Background jobs of a service, which run as long as the service is up.

Also steps that begin before they are needed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeAlias, TypeVar

import structlog

RESTART_SECONDS = 1.0
"""The wait before a job that has failed unexpectedly starts again. One second keeps a job that fails at once from
filling the log."""

Job: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""A function whose coroutine runs until it is cancelled or its work is done."""

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Background:
    """Runs jobs side by side.

    A job that fails is logged and started again. Its failure therefore neither ends the service nor goes unnoticed.
    """

    def __init__(self, jobs: Sequence[Job], restart_seconds: float = RESTART_SECONDS) -> None:
        self._jobs = jobs
        self._restart_seconds = restart_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start all jobs and return at once."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Cancel all jobs and wait until they have ended."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for job in self._jobs:
                group.create_task(self._keep_running(job))

    async def _keep_running(self, job: Job) -> None:
        while True:
            try:
                await job()
            except Exception:  # noqa: BLE001 - whatever failed, the next start may succeed
                _log.exception("a background job failed; it starts again", job=getattr(job, "__qualname__", str(job)))
                await asyncio.sleep(self._restart_seconds)
            else:
                return


def begin_ahead(step: Awaitable[T]) -> asyncio.Future[T]:
    """Begin a step, for example the reading of a stream's next message. Its error is not logged if nothing awaits it.

    If a caller breaks off its call, such a step fails. asyncio would log a traceback for each of these errors, so that
    a caller could fill the log.
    """
    begun = asyncio.ensure_future(step)
    begun.add_done_callback(_take_error)
    return begun


def _take_error(begun: asyncio.Future[T]) -> None:
    if not begun.cancelled():
        begun.exception()
