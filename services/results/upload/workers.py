"""Judging batches in processes of their own.

Judging is all Python and takes half of an upload's time; in the server's process it would take turns with the commits
and look-ups of everyone else. Workers are spawned, not forked (a fork after gRPC has started deadlocks), and end with
their server however that ends.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Semaphore
from typing import Any

import structlog
from hutong.results.v1.upload_pb2 import Tube, TubeBatch, TubePerson

from services.domain.errors import Unavailable
from services.domain.instant import Instant
from services.domain.region import is_region
from services.domain.subject import Pepper
from services.results.labs.model import Lab
from services.results.records.model import NewResult
from services.results.records.row_format import row_form
from services.results.upload.convert import faults_from_violations, tube_from_proto
from services.results.upload.model import ValidatedBatch
from services.results.upload.validation import BatchValidator
from services.runtime.server.validation import find_violations
from services.runtime.tuning import freeze_heap

START_SECONDS = 30.0
"""The longest that the workers' start is waited for; one that takes longer is waited for by its first batch."""
_ANY_REGION = "110000"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker needs to know once and for all."""

    secret: bytes
    key_version: int
    dialect: str

    def __repr__(self) -> str:
        return f"Bench(dialect={self.dialect!r})"


def validate_tubes(bench: WorkerContext, lab: Lab, now: Instant, offset: int, tubes: bytes) -> ValidatedBatch:
    """Judge the tubes of a serialized TubeBatch by the contract's rules and by ours; the first stands at `offset`."""
    batch = TubeBatch.FromString(tubes)
    faults = faults_from_violations(find_violations(batch))
    judge = BatchValidator(now, Pepper(bench.secret, bench.key_version), lab, row_form(bench.dialect))
    return judge.judge_batch(offset, [tube_from_proto(tube) for tube in batch.tubes], faults)


_Columns = list[tuple[Any, ...]]
"""Results field by field: in plain columns they cross to another process at half the cost."""


def _judge_apart(
    bench: WorkerContext, lab: Lab, now: Instant, offset: int, tubes: bytes
) -> tuple[ValidatedBatch, _Columns]:
    """As `judge_tubes`, with the results beside the batch."""
    judged = validate_tubes(bench, lab, now, offset, tubes)
    return replace(judged, results=()), list(zip(*judged.results, strict=True))


def _put_together(judged: ValidatedBatch, columns: _Columns) -> ValidatedBatch:
    return replace(judged, results=[NewResult._make(row) for row in zip(*columns, strict=True)])


class ValidationPool:
    """Judges batches, several at once. With no workers the server's own threads do it, as tests like it."""

    def __init__(self, bench: WorkerContext, workers: int) -> None:
        self._bench = bench
        self._workers = workers
        self._context = multiprocessing.get_context("spawn")
        self._ready = self._context.Semaphore(0)
        self._pool = self._new_pool()

    async def judge(self, lab: Lab, now: Instant, offset: int, tubes: bytes) -> ValidatedBatch:
        """Judge one batch, given as a serialized TubeBatch.

        Raises:
            Unavailable: the worker was killed; there are new ones, and the batch was not stored.
        """
        pool = self._pool
        try:
            return _put_together(
                *await asyncio.get_running_loop().run_in_executor(
                    pool, _judge_apart, self._bench, lab, now, offset, tubes
                )
            )
        except BrokenProcessPool:
            self._renew(pool)
            raise Unavailable(
                "SHUTTING_DOWN", "the upload was interrupted; go on from GetUpload", metadata={"service": "results"}
            ) from None

    async def warm(self) -> None:
        """Start the workers, and wait until all of them are ready, so that the first laboratory need not."""
        loop = asyncio.get_running_loop()
        # Each task starts one while none is idle; the first that is ready may take them all.
        starting = [loop.run_in_executor(self._pool, os.getpid) for _ in range(self._workers)]
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.gather(*starting)
                for _ in range(self._workers):
                    await asyncio.to_thread(self._ready.acquire, timeout=START_SECONDS)
        except TimeoutError:
            _log.warning("workers are slow to start", seconds=START_SECONDS)
        except BrokenProcessPool:
            # One was killed; the first batch starts others.
            self._renew(self._pool)

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _renew(self, broken: Executor) -> None:
        """Have new workers in place of these, unless somebody has."""
        if self._pool is broken:
            broken.shutdown(wait=False)
            self._pool = self._new_pool()

    def _new_pool(self) -> Executor:
        if self._workers == 0:
            return ThreadPoolExecutor(1, thread_name_prefix="judge")
        return ProcessPoolExecutor(
            self._workers, mp_context=self._context, initializer=_begin_worker, initargs=(self._ready,)
        )


def _begin_worker(ready: Semaphore) -> None:
    """Leave Ctrl-C to the server, and end when it does: a worker whose server was killed would wait for ever.

    The contract's rules are compiled and the table of regions is read at their first use, which no laboratory need wait
    for, and a tenth of its time would go into looking for garbage.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    find_violations(TubeBatch(tubes=[Tube(persons=[TubePerson()])]))
    is_region(_ANY_REGION)
    freeze_heap()
    ready.release()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(0)
