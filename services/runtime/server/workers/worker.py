"""A worker's side of its group. It reports its health, shares its counts of callers, and ends when its parent ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable

from prometheus_client import REGISTRY

from services.runtime.server.access.budgets import Accounts
from services.runtime.server.access.shared_counts import SharedCounts
from services.runtime.server.health.checks import HealthReport
from services.runtime.server.workers.link import Kind, Link, frame
from services.runtime.server.workers.metrics import dump_metrics

HEALTH_SECONDS = 1.0
"""The wait between two reports of health. The wait between two health checks is the same."""
SHARE_SECONDS = 0.1
"""The wait between two exchanges of counts. During this wait, and while the counts are on their way, a caller can
exceed its limits by what it does at other workers. An exchange without changes costs nothing."""
_ABANDONED = 1
"""The exit code of a worker whose parent has ended."""
_PR_SET_PDEATHSIG = 1
"""The option of prctl(2) that sets the signal which a process gets when its parent ends."""


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, even while it is busy or does not serve yet (Linux).

    On other systems the process ends when its link ends.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class WorkerMembership:
    """What makes this process a worker of a group.

    `end` is this worker's end of the link, `number` its number in the group.
    """

    def __init__(self, end: socket.socket, number: int) -> None:
        self.number = number
        self._end = end
        self._link: Link | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._counts: SharedCounts | None = None

    async def join(self) -> None:
        """Begin to listen to the parent."""
        self._link = await Link.open(self._end.dup())
        self._tasks.append(asyncio.get_running_loop().create_task(self._listen(self._link)))

    def serve(self, accounts: Accounts, health: Callable[[], HealthReport]) -> None:
        """Report that the service is being served.

        From now on report its health and share the counts of its callers.
        """
        link = self._link
        assert link is not None
        self._counts = SharedCounts(accounts, self.number)
        link.send(Kind.SERVING)
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._report_health(link, health)))
        self._tasks.append(loop.create_task(self._share(link, self._counts)))

    def fail(self, code: int, text: str) -> None:
        """Tell the parent why this worker cannot start. Call it last, without a running event loop."""
        self._end.sendall(frame(Kind.FAILED, f"{code} {text}".encode()))

    async def leave(self) -> None:
        """Send the last metrics, and end the membership."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._link is not None:
            self._link.send(Kind.METRICS, _dump())
            await self._link.close()

    async def _listen(self, link: Link) -> None:
        async for kind, body in link.messages():
            if kind is Kind.ASK_METRICS:
                link.send(Kind.METRICS, await asyncio.to_thread(_dump))
            elif self._counts is None:
                continue
            elif kind is Kind.COUNTS:
                self._counts.add(body)
            elif kind is Kind.STARTED:
                self._counts.send_all()
            elif kind is Kind.ENDED:
                self._counts.forget(int(body))
        # The parent has been killed, so nothing supervises this worker any more. If it went on, it would keep the port
        # occupied.
        os._exit(_ABANDONED)

    async def _report_health(self, link: Link, health: Callable[[], HealthReport]) -> None:
        while True:
            report = health()
            link.send(Kind.HEALTH, b"1" if report.serving else b"0")
            await asyncio.sleep(HEALTH_SECONDS)

    async def _share(self, link: Link, counts: SharedCounts) -> None:
        while True:
            await asyncio.sleep(SHARE_SECONDS)
            if body := counts.take():
                link.send(Kind.COUNTS, body)


def _dump() -> bytes:
    return dump_metrics(REGISTRY.collect())
