"""The parent of workers: what it does when they end, fail, or are renewed. The workers are small scripts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator

import psutil
import pytest

from services.runtime.server.workers.group import GroupTiming, Launch, WorkerGroup, WorkersFailed
from services.runtime.server.workers.link import Kind, Link, frame
from tests.support.waiting import until

SERVES = f"link.sendall({frame(Kind.SERVING)!r})"
SLEEPS = "import time\nwhile True: time.sleep(100)"
GOOD = f"{SERVES}\n{SLEEPS}"
ENDS = "import sys; sys.exit(3)"
REFUSES = f"link.sendall({frame(Kind.FAILED, b'2 no such key')!r})\nimport sys; sys.exit(2)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{GOOD}"
QUICK = GroupTiming(waits=(0.0, 0.0, 0.0), kill=0.0)


class Running:
    """A group of scripts. `scripts` has the text of each further worker; its last entry stands for all after it."""

    def __init__(self, count: int, *scripts: str) -> None:
        self.scripts = list(scripts)
        self.names: list[str] = []
        self.launched = 0
        self.group = WorkerGroup(count, self._launch, 0.0, QUICK)
        self.group.on_change = lambda reports: self.names.__setitem__(slice(None), reports)

    def _launch(self, _number: int, link: socket.socket) -> Launch:
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.launched += 1
        opened = f"import socket; link = socket.socket(fileno={link.fileno()})"
        return Launch([sys.executable, "-S", "-c", f"{opened}\n{script}"], os.environ)

    def pids(self) -> list[int]:
        """Return the workers that run."""
        return sorted(one.pid for one in psutil.Process().children() if "socket.socket" in " ".join(one.cmdline()))

    async def serve(self) -> None:
        """Wait until all workers serve."""
        await until(lambda: self.group.ready == 2)


@contextlib.asynccontextmanager
async def running(count: int, *scripts: str) -> AsyncIterator[Running]:
    """Run a group until the block ends. No worker is left."""
    one = Running(count, *scripts)
    task = asyncio.create_task(one.group.run())
    try:
        yield one
    finally:
        one.group.stop()
        with contextlib.suppress(WorkersFailed):
            await task
        assert one.pids() == []


async def test_a_killed_worker_is_started_again() -> None:
    async with running(2, GOOD) as one:
        await one.serve()
        killed, other = one.pids()
        os.kill(killed, signal.SIGKILL)
        await until(lambda: len(one.pids()) == 2 and killed not in one.pids())
        assert other in one.pids()
        assert one.names == ["worker 1", "worker 2"]


async def test_workers_that_end_at_once_end_the_group() -> None:
    one = Running(1, ENDS)
    with pytest.raises(WorkersFailed) as failed:
        await one.group.run()
    assert failed.value.code == 1
    assert failed.value.text == "4 workers ended within 30 seconds of their start: the last one with exit code 3"
    assert one.launched == 1 + len(QUICK.waits)


async def test_a_first_worker_that_cannot_start_says_why() -> None:
    """Another attempt would be useless, so there is none."""
    one = Running(1, REFUSES)
    with pytest.raises(WorkersFailed) as failed:
        await one.group.run()
    assert (failed.value.code, failed.value.text) == (2, "no such key")
    assert one.launched == 1


async def test_workers_are_renewed_one_by_one() -> None:
    async with running(2, GOOD) as one:
        await one.serve()
        before = one.pids()
        one.group.renew()
        await until(lambda: len(one.pids()) == 2 and not set(before) & set(one.pids()))
        assert one.launched == 4


@pytest.mark.parametrize("script", [ENDS, REFUSES], ids=["ends", "refuses"])
async def test_a_renewal_that_fails_leaves_the_workers(script: str) -> None:
    async with running(2, GOOD, GOOD, script) as one:
        await one.serve()
        before = one.pids()
        one.group.renew()
        await until(lambda: one.launched == 3 and one.pids() == before)


async def test_a_worker_that_does_not_drain_is_killed() -> None:
    async with running(2, STUBBORN) as one:
        await one.serve()


async def test_a_stop_while_workers_start_leaves_none() -> None:
    async with running(2, GOOD) as one:
        await until(lambda: one.launched >= 1)


async def test_messages_arrive_whole_until_the_peer_ends() -> None:
    ours, theirs = socket.socketpair()
    first, second = await Link.open(ours), await Link.open(theirs)
    first.send(Kind.COUNTS, b"x" * 100_000)
    first.send(Kind.ENDED, b"7")
    await first.close()
    assert [message async for message in second.messages()] == [(Kind.COUNTS, b"x" * 100_000), (Kind.ENDED, b"7")]
    await second.close()


async def test_counts_reach_the_other_workers() -> None:
    """The second worker serves only once it has the counts of the first."""
    waits = f"heard = b''\nwhile b'counted' not in heard: heard += link.recv(100)\n{GOOD}"
    says = f"import time\nwhile True: link.sendall({frame(Kind.COUNTS, b'counted')!r}); time.sleep(0.05)"
    async with running(2, f"{SERVES}\n{says}", waits) as one:
        await one.serve()
