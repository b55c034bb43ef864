"""The parent of the workers of one service. It starts and replaces them, and passes signals and counts on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from hutong_texts import Text, english
from hutong_texts.system import system_text
from prometheus_client import Counter, Metric

from services.runtime.server.health.checks import HealthReport
from services.runtime.server.workers.link import Kind, Link
from services.runtime.server.workers.metrics import GroupMetrics
from services.runtime.server.workers.model import GroupTiming, Launch, WorkersFailed

RESTARTS = Counter("hutong_worker_restarts_total", "Workers that were started again", ["cause"])
_EXIT_FAILED = 1

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker that runs.

    Attributes:
        number: the lowest number, from 1, that no other running worker has.
        begun: when the worker was started, by time.monotonic().
        is_needed: whether another worker is started when this one ends.
        failure: the exit code and the reason that the worker gave for its end.
        code: the exit code of the worker once it has ended. It is negative if a signal ended the worker.
    """

    number: int
    process: asyncio.subprocess.Process
    link: Link
    begun: float
    is_needed: bool
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    measured: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    is_serving: bool = False
    heard: float = 0.0
    failure: tuple[int, Text] | None = None
    code: int = 0

    def report(self) -> HealthReport:
        """Return the worker's health."""
        return HealthReport(self.is_serving, time.monotonic() - self.heard)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class WorkerGroup:
    """Keeps a number of workers running until the group is stopped.

    `launch` takes a worker's number and the worker's end of its link, and returns the `Launch` of the worker.

    Attributes:
        on_change: called whenever a worker has started or ended, with the functions that report the health of the
            workers, by the names of the workers.
    """

    def __init__(
        self,
        count: int,
        launch: Callable[[int, socket.socket], Launch],
        drain_seconds: float,
        timing: GroupTiming | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_change: Callable[[Mapping[str, Callable[[], HealthReport]]], None] = lambda _: None
        self._metrics = GroupMetrics()
        self._count = count
        self._launch = launch
        self._drain_seconds = drain_seconds
        self._timing = timing or GroupTiming()
        self._now = now
        self._workers: dict[int, _Worker] = {}
        self._has_served = False
        self._early_ends = 0
        self._stopping = asyncio.Event()
        self._failed: WorkersFailed | None = None
        self._starting = asyncio.Lock()
        self._renewing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> int:
        """The number of workers that serve."""
        return sum(worker.ready.is_set() for worker in self._workers.values())

    async def run(self) -> None:
        """Keep the workers running until `stop` is called. Then wait until they have drained.

        Raises:
            WorkersFailed: a worker cannot start, or workers end again and again soon after their start.
        """
        try:
            for _ in range(self._count):
                await self._start()
            looked = self._now()
            while not self._stopping.is_set():
                looked = self._kill_silent(looked)
                await self._wait_for_stop(self._timing.look)
        finally:
            await self._end_all()
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """Let `run` drain and end all workers."""
        self._stopping.set()

    def reload(self) -> None:
        """Let each worker read its files again. A worker that does not serve yet will read them anyway."""
        _log.info("reloading")
        for worker in self._workers.values():
            if worker.ready.is_set():
                worker.send_signal(signal.SIGHUP)

    def renew(self) -> None:
        """Replace all workers one by one. Each worker goes on until its replacement serves."""
        self._spawn_task(self._renew())

    async def measure(self) -> list[Metric]:
        """Return the metrics of all workers. They are up to date for each worker that answers in time."""
        asked = [worker for worker in self._workers.values() if worker.ready.is_set()]
        for worker in asked:
            worker.measured.clear()
            worker.link.send(Kind.ASK_METRICS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.metrics):
                await asyncio.gather(*(worker.measured.wait() for worker in asked))
        return list(self._metrics.collect())

    async def _start(self, *, is_needed: bool = True) -> _Worker:
        # Only one worker starts at a time, because its number is occupied only once the worker runs.
        async with self._starting:
            number = next(number for number in range(1, len(self._workers) + 2) if number not in self._workers)
            worker = self._workers[number] = await self._open(number, is_needed=is_needed)
        self._spawn_task(self._attend(worker))
        self._publish()
        if self._stopping.is_set():
            self._spawn_task(self._end(worker))
        return worker

    async def _open(self, number: int, *, is_needed: bool) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            launch = self._launch(number, theirs)
            try:
                process = await asyncio.create_subprocess_exec(
                    *launch.command,
                    stdin=asyncio.subprocess.DEVNULL,
                    env=dict(launch.environment),
                    pass_fds=[theirs.fileno(), *launch.files],
                )
            except OSError as error:
                ours.close()
                raise WorkersFailed(
                    _EXIT_FAILED, english("a worker cannot be started: {cause}", cause=system_text(error))
                ) from None
            finally:
                for file in launch.files:
                    os.close(file)
        begun = self._now()
        return _Worker(number, process, await Link.open(ours), begun, is_needed, heard=begun)

    async def _attend(self, worker: _Worker) -> None:
        """Process what a worker sends until it ends. Then start another worker, unless the end was intended."""
        async for kind, body in worker.link.messages():
            self._take_in(worker, kind, body)
        code = await worker.process.wait()
        await worker.link.close()
        del self._workers[worker.number]
        self._metrics.end(worker.number)
        self._tell_others(worker, Kind.ENDED, str(worker.number).encode())
        worker.code = code
        worker.ended.set()
        self._publish()
        if worker.is_needed and not self._stopping.is_set():
            _log.warning("worker ended", worker=worker.number, code=code)
            await self._start_again(worker)

    async def _start_again(self, ended: _Worker) -> None:
        """Start a worker in place of one that has ended. If another start is useless, let the group end."""
        code, cause = ended.failure or (_EXIT_FAILED, english("the last one with exit code {code}", code=ended.code))
        if ended.failure is not None and not self._has_served:
            self._fail(code, cause)
            return
        if self._now() - ended.begun >= self._timing.early:
            self._early_ends = 0
        if self._early_ends == len(self._timing.waits):
            text = english(
                "{count} workers ended within {seconds:g} seconds of their start: {cause}",
                count=self._early_ends + 1,
                seconds=self._timing.early,
                cause=cause,
            )
            self._fail(code, text)
            return
        wait = self._timing.waits[self._early_ends]
        self._early_ends += 1
        await self._wait_for_stop(wait)
        if self._stopping.is_set():
            return
        RESTARTS.labels("ended").inc()
        try:
            await self._start()
        except WorkersFailed as error:
            self._fail(error.code, error.text)

    async def _wait_for_stop(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _kill_silent(self, looked: float) -> float:
        """Kill the workers that hang. `looked` is the time of the last call of this method. Return the current time."""
        now = self._now()
        for worker in self._workers.values():
            if now - looked > self._timing.silent / 2:
                # This process itself has stood still, and has not yet read what the workers have sent meanwhile.
                worker.heard = now
            elif worker.ready.is_set() and now - worker.heard > self._timing.silent:
                _log.error("worker hangs", worker=worker.number)
                worker.send_signal(signal.SIGKILL)
        return now

    def _take_in(self, worker: _Worker, kind: Kind, body: bytes) -> None:
        if kind is Kind.COUNTS:
            self._tell_others(worker, kind, body)
        elif kind is Kind.HEALTH:
            worker.is_serving, worker.heard = body == b"1", self._now()
        elif kind is Kind.METRICS:
            self._metrics.note(worker.number, body)
            worker.measured.set()
        elif kind is Kind.SERVING:
            _log.info("worker serves", worker=worker.number, pid=worker.process.pid)
            worker.ready.set()
            worker.heard = self._now()
            self._has_served = True
            self._tell_others(worker, Kind.STARTED)
        elif kind is Kind.FAILED:
            code, _, text = body.decode().partition(" ")
            worker.failure = (int(code), Text(text))

    def _tell_others(self, worker: _Worker, kind: Kind, body: bytes = b"") -> None:
        for other in self._workers.values():
            if other is not worker:
                other.link.send(kind, body)

    def _publish(self) -> None:
        self.on_change({f"worker {number}": worker.report for number, worker in sorted(self._workers.items())})

    async def _renew(self) -> None:
        async with self._renewing:
            for old in list(self._workers.values()):
                if self._stopping.is_set():
                    return
                if not old.ended.is_set() and not await self._replace(old):
                    return

    async def _replace(self, old: _Worker) -> bool:
        """Replace a worker by a new worker. If the new worker does not serve, keep the old worker and return False."""
        try:
            new = await self._start(is_needed=False)
        except WorkersFailed as error:
            _log.error("a new worker cannot be started; the former ones stay", text=error.text)
            return False
        old.is_needed = False
        ends = [asyncio.ensure_future(one.wait()) for one in (new.ready, new.ended, self._stopping)]
        await asyncio.wait(ends, timeout=self._timing.ready, return_when=asyncio.FIRST_COMPLETED)
        for one in ends:
            one.cancel()
        if new.ready.is_set() and not new.ended.is_set():
            new.is_needed = True
            RESTARTS.labels("renewed").inc()
            await self._end(old)
            return True
        cause = new.failure[1] if new.failure is not None else ""
        _log.error("a new worker does not serve; the former ones stay", worker=new.number, text=cause)
        new.send_signal(signal.SIGKILL)
        old.is_needed = True
        if old.ended.is_set() and not self._stopping.is_set():
            await self._start_again(old)
        return False

    async def _end(self, worker: _Worker) -> None:
        """Drain a worker and wait until it ends. Kill it if that takes too long."""
        worker.is_needed = False
        worker.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.ended.wait(), self._drain_seconds + self._timing.kill)
        worker.send_signal(signal.SIGKILL)
        await worker.ended.wait()

    async def _end_all(self) -> None:
        self._stopping.set()
        _log.info("draining", seconds=self._drain_seconds)
        await asyncio.gather(*(self._end(worker) for worker in list(self._workers.values())))
        # Tasks may begin further tasks. The task that starts a worker, for example, begins the tasks that attend to it
        # and end it.
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _fail(self, code: int, text: Text) -> None:
        self._failed = self._failed or WorkersFailed(code, text)
        self._stopping.set()

    def _spawn_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
