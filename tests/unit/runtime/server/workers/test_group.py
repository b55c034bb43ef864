"""The parent of workers: what it does when they end, fail, or are renewed. The workers are small scripts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping

import psutil
import pytest
from structlog.testing import capture_logs

from services.runtime.server.health.checks import HealthReport
from services.runtime.server.workers.group import WorkerGroup
from services.runtime.server.workers.link import Kind, Link, frame
from services.runtime.server.workers.model import GroupTiming, Launch, WorkersFailed
from tests.support.waiting import until

SERVES = f"link.sendall({frame(Kind.SERVING)!r})"
SLEEPS = "import time\nwhile True: time.sleep(100)"
GOOD = f"{SERVES}\n{SLEEPS}"
ENDS = "import sys; sys.exit(3)"
REFUSES = f"link.sendall({frame(Kind.FAILED, b'2 no such key')!r})\nimport sys; sys.exit(2)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{GOOD}"
QUICK = GroupTiming(waits=(0.0, 0.0, 0.0), kill=0.0, silent=3_600.0, look=0.01)


class Running:
    """A group of scripts. `scripts` has the text of each further worker; its last entry stands for all after it."""

    def __init__(self, count: int, *scripts: str) -> None:
        self.scripts = list(scripts)
        self.reports: dict[str, Callable[[], HealthReport]] = {}
        self.numbers: list[int] = []
        self.on_launch: Callable[[], None] = lambda: None
        self.now = 0.0
        self.looks = 0
        self.group = WorkerGroup(count, self._launch, 0.0, QUICK, self._look)
        self.group.on_change = self._use_reports

    @property
    def launched(self) -> int:
        """How many workers were started."""
        return len(self.numbers)

    def _launch(self, number: int, link: socket.socket) -> Launch:
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.numbers.append(number)
        self.on_launch()
        opened = f"import socket; link = socket.socket(fileno={link.fileno()})"
        return Launch([sys.executable, "-S", "-c", f"{opened}\n{script}"], os.environ)

    def _look(self) -> float:
        self.looks += 1
        return self.now

    def _use_reports(self, reports: Mapping[str, Callable[[], HealthReport]]) -> None:
        self.reports = dict(reports)

    def pids(self) -> list[int]:
        """Return the workers that run."""
        found = []
        for one in psutil.Process().children():
            # A process that has ended meanwhile has no command line.
            with contextlib.suppress(psutil.Error):
                if "socket.socket" in " ".join(one.cmdline()):
                    found.append(one.pid)
        return sorted(found)

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
        assert (one.pids(), one.reports) == ([], {})


async def test_a_killed_worker_is_started_again() -> None:
    async with running(2, GOOD) as one:
        await one.serve()
        killed, other = one.pids()
        os.kill(killed, signal.SIGKILL)
        # Once the third is launched, the killed one does not count as ready any more.
        await until(lambda: one.launched == 3 and one.group.ready == 2)
        assert other in one.pids()
        assert killed not in one.pids()
        assert list(one.reports) == ["worker 1", "worker 2"]


async def test_workers_that_end_together_get_numbers_of_their_own() -> None:
    async with running(3, GOOD) as one:
        await until(lambda: one.group.ready == 3)
        # The workers have run for long, so each is started again after the first wait.
        one.now += QUICK.early
        for pid in one.pids():
            os.kill(pid, signal.SIGKILL)
        await until(lambda: one.launched == 6 and one.group.ready == 3)
        assert sorted(one.numbers[3:]) == [1, 2, 3]


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
        await until(lambda: one.launched == 4 and one.group.ready == 2 and not set(before) & set(one.pids()))
        assert len(one.pids()) == 2


@pytest.mark.parametrize("script", [ENDS, REFUSES], ids=["ends", "refuses"])
async def test_a_renewal_that_fails_leaves_the_workers(script: str) -> None:
    async with running(2, GOOD, GOOD, script) as one:
        await one.serve()
        before = one.pids()
        with capture_logs() as logs:
            one.group.renew()
            await until(lambda: any(line["event"].startswith("a new worker does not serve") for line in logs))
        assert (one.launched, one.pids()) == (3, before)


async def test_a_worker_that_does_not_drain_is_killed() -> None:
    async with running(2, STUBBORN) as one:
        await one.serve()


async def test_a_stop_while_workers_start_leaves_none() -> None:
    async with running(2, GOOD) as one:
        await until(lambda: one.launched >= 1)


async def test_a_stop_while_a_worker_is_started_again_leaves_none() -> None:
    async with running(1, GOOD) as one:
        await until(lambda: one.group.ready == 1)
        one.on_launch = one.group.stop
        os.kill(one.pids()[0], signal.SIGKILL)
        await until(lambda: one.launched == 2)


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


async def test_a_worker_that_hangs_is_killed() -> None:
    """A worker hangs if it no longer sends its health."""
    async with running(1, GOOD) as one:
        await until(lambda: one.group.ready == 1)
        hung = one.pids()

        def is_replaced() -> bool:
            one.now += QUICK.silent / 20
            return one.launched == 2

        await until(is_replaced)
        await until(lambda: one.group.ready == 1)
        assert one.pids() != hung


async def test_no_worker_is_killed_because_the_parent_stood_still() -> None:
    async with running(1, GOOD) as one:
        await until(lambda: one.group.ready == 1)
        for _ in range(3):
            one.now += 2 * QUICK.silent
            looked = one.looks
            await until(lambda: one.looks > looked + 1)  # noqa: B023 - awaited at once
        assert one.launched == 1


async def test_a_new_worker_gets_the_counts_of_the_others() -> None:
    """The counts are asked for once the worker serves, because it keeps none before."""
    asked = f"heard = b''\nwhile {frame(Kind.STARTED)!r} not in heard: heard += link.recv(100)"
    first = f"{SERVES}\n{asked}\nlink.sendall({frame(Kind.COUNTS, b'counted')!r})\n{SLEEPS}"
    counted = "heard = b''\nwhile b'counted' not in heard: heard += link.recv(100)"
    second = f"{SERVES}\n{counted}\nlink.sendall({frame(Kind.HEALTH, b'1')!r})\n{SLEEPS}"
    async with running(2, first, second) as one:
        await one.serve()
        await until(lambda: "worker 2" in one.reports and one.reports["worker 2"]().serving)
