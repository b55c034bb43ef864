"""Validates batches in worker processes.

Validation is pure Python and takes half of an upload's time. In the server's process, validation would hold the
interpreter lock and delay all commits and look-ups. Workers are started by spawning, because a fork after gRPC has
started deadlocks. The workers end when their server ends, even if the server is killed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Collection
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Semaphore

import structlog
from hutong.results.v1.upload_pb2 import Tube, TubeBatch, TubePerson
from hutong_texts import english

from services.domain.errors import Unavailable
from services.domain.instant import Instant
from services.domain.names import DEFAULT_ITEM
from services.domain.region import added_regions, is_region, set_added_regions
from services.domain.subject import Pepper
from services.results.labs.model import Lab
from services.results.upload.convert import (
    faults_from_violations,
    keeps_every_rule,
    persons_from_proto,
    tube_from_proto,
)
from services.results.upload.model import ValidatedBatch
from services.results.upload.validation import BatchValidator
from services.runtime.hardening import harden_process
from services.runtime.server.validation import find_violations
from services.runtime.tuning import freeze_heap

WORKERS_START_SECONDS = 30.0
"""How long the server waits for its workers to start. A slower worker delays only its first batch."""
_ANY_REGION = "110000"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The settings of a worker. They never change."""

    secret: bytes
    key_version: int
    dialect: str
    other_secret: bytes = b""
    other_version: int = 0

    @classmethod
    def of(cls, pepper: Pepper, dialect: str) -> WorkerContext:
        """Return the context for a pepper and a database engine."""
        other = (pepper.other.secret, pepper.other.version) if pepper.other else (b"", 0)
        return cls(pepper.secret, pepper.version, dialect, *other)

    def pepper(self) -> Pepper:
        """Return the pepper. While the key rotates, the pepper has the key of the other key version too."""
        other = Pepper(self.other_secret, self.other_version) if self.other_secret else None
        return Pepper(self.secret, self.key_version, other)

    def __repr__(self) -> str:
        return f"WorkerContext(dialect={self.dialect!r})"


def validate_tubes(
    context: WorkerContext,
    lab: Lab,
    now: Instant,
    offset: int,
    tubes: bytes,
    items: Collection[str] = (DEFAULT_ITEM,),
) -> ValidatedBatch:
    """Validate the tubes of a serialized TubeBatch by the contract's rules and the domain's.

    `offset` is the index of the first tube in the upload. `items` are the ids of the items that the upload admits.
    """
    batch = TubeBatch.FromString(tubes)
    sent, persons = list(map(tube_from_proto, batch.tubes)), persons_from_proto(batch.tubes)
    keeps_rules = bool(sent) and keeps_every_rule(batch, sent, persons)
    faults = {} if keeps_rules else faults_from_violations(find_violations(batch))
    validator = BatchValidator(now, context.pepper(), lab, context.dialect, items)
    return validator.validate_batch(offset, sent, persons, faults)


class ValidationPool:
    """Validates batches. Each worker validates one batch at a time.

    Without workers, as in tests, a thread of the server validates.
    """

    def __init__(self, context: WorkerContext, workers: int) -> None:
        self._worker_context = context
        self._workers = workers
        self._multiprocessing = multiprocessing.get_context("spawn")
        self._ready = self._multiprocessing.Semaphore(0)
        self._pool = self._new_pool()

    async def validate(
        self, lab: Lab, now: Instant, offset: int, tubes: bytes, items: Collection[str] = (DEFAULT_ITEM,)
    ) -> ValidatedBatch:
        """Validate one batch, given as a serialized TubeBatch. `items` are the ids of the admitted items.

        Raises:
            Unavailable: SHUTTING_DOWN, the worker was killed. The batch is not stored, and the worker is replaced.
        """
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(
                pool, validate_tubes, self._worker_context, lab, now, offset, tubes, items
            )
        except BrokenProcessPool:
            self._renew(pool)
            raise Unavailable(
                "SHUTTING_DOWN",
                english("the upload was interrupted; go on from GetUpload"),
                metadata={"service": "results"},
            ) from None

    async def warm(self) -> None:
        """Start the workers and wait until all are ready, so that the first upload need not wait."""
        loop = asyncio.get_running_loop()
        # Each task starts a worker unless a worker is idle. One worker may therefore run all tasks, so `_ready` is
        # awaited too.
        starting = [loop.run_in_executor(self._pool, os.getpid) for _ in range(self._workers)]
        try:
            async with asyncio.timeout(WORKERS_START_SECONDS):
                await asyncio.gather(*starting)
                for _ in range(self._workers):
                    await asyncio.to_thread(self._ready.acquire, timeout=WORKERS_START_SECONDS)
        except TimeoutError:
            _log.warning("workers are slow to start", seconds=WORKERS_START_SECONDS)
        except BrokenProcessPool:
            # A worker was killed. The next batch starts new workers.
            self._renew(self._pool)

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _renew(self, broken: Executor) -> None:
        """Replace a broken pool, unless another call has replaced it already."""
        if self._pool is broken:
            broken.shutdown(wait=False)
            self._pool = self._new_pool()

    def _new_pool(self) -> Executor:
        if self._workers == 0:
            return ThreadPoolExecutor(1, thread_name_prefix="validate")
        return ProcessPoolExecutor(
            self._workers,
            mp_context=self._multiprocessing,
            initializer=_begin_worker,
            initargs=(self._ready, added_regions()),
        )


def _begin_worker(ready: Semaphore, regions: frozenset[str]) -> None:
    """Prepare a worker process.

    It ignores Ctrl-C and SIGHUP, which the server handles. It ends when its server ends, because otherwise the worker
    of a killed server would wait for ever. Before the first upload it compiles the contract's rules, takes over the
    operator's regions and reads the table of regions. It freezes the heap, because garbage collection would take a
    tenth of the worker's time.
    """
    harden_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    find_violations(TubeBatch(tubes=[Tube(persons=[TubePerson()])]))
    set_added_regions(regions)
    is_region(_ANY_REGION)
    freeze_heap()
    ready.release()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(0)
