"""Worker processes that validate uploads: an upload survives a worker's death, and no worker survives its server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import grpc
import psutil
from hutong.results.v1.upload_pb2 import TubeBatch

from services.results.upload.workers import ValidationPool, WorkerContext
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.processes import daemon
from tests.support.results.factories import NOW, make_lab, make_tubes
from tests.support.results.node import batch_of, ending, results_node, start
from tests.support.waiting import TIMEOUT_SECONDS, until


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Return a server's worker processes, without Python's resource tracker."""
    found = []
    for child in process.children(recursive=True):
        # A child may end meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


async def test_a_worker_killed_under_a_batch_interrupts_its_upload_and_no_other(
    tmp_path: Path, sqlite_url: MakeUrl
) -> None:
    """The call fails with UNAVAILABLE, nothing is stored in part, and new workers validate the next upload."""
    before = {child.pid for child in workers_of(psutil.Process())}
    async with results_node(tmp_path, sqlite_url("results"), workers=1) as node:
        await node.register()

        def new_workers() -> list[psutil.Process]:
            return [child for child in workers_of(psutil.Process()) if child.pid not in before]

        await until(lambda: len(new_workers()) == 1)
        (worker,) = new_workers()
        call = node.uploads.UploadResults()
        await call.write(start())
        await call.write(batch_of(make_tubes(10)))
        assert (await call.read()).committed_offset == 10
        # The worker is stopped, so that it certainly has the batch when it is killed.
        worker.send_signal(signal.SIGSTOP)
        await call.write(batch_of(make_tubes(10, 10), 10))
        worker.kill()
        answers, error = await ending(call)
        assert answers == []
        assert (error.code(), error_info(error).reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert (await node.upload_state()).committed_offset == 10
        (answer,) = await node.upload(make_tubes(20), batch=20)
        assert (answer.committed_offset, answer.accepted_count, answer.duplicate_count) == (20, 10, 10)


async def test_workers_end_with_a_server_that_is_killed(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """SIGKILL gives the server no time to end its workers. They notice it by themselves."""
    variables = {"results_database_url": sqlite_url("results"), "data_dir": str(tmp_path), "upload_workers": "2"}
    with daemon("serve", "results", results_address="127.0.0.1:0", **variables) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            await channel.channel_ready()
            process = psutil.Process(server.process.pid)
            await until(lambda: len(workers_of(process)) == 2)
            family = process.children(recursive=True)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(TIMEOUT_SECONDS)
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, TIMEOUT_SECONDS)
        assert alive == []


async def test_a_worker_killed_while_it_starts_does_not_stop_the_service() -> None:
    """The pool starts other workers, at the first batch at the latest."""
    pool = ValidationPool(WorkerContext(b"p" * 32, 1, "sqlite"), 1)
    before = {child.pid for child in workers_of(psutil.Process())}
    warming = asyncio.ensure_future(pool.warm())

    async def begun() -> list[psutil.Process]:
        return [child for child in workers_of(psutil.Process()) if child.pid not in before]

    await until(begun)
    for worker in await begun():
        worker.kill()
    await asyncio.wait_for(warming, TIMEOUT_SECONDS)
    validated = await pool.validate(make_lab(), NOW, 0, TubeBatch(tubes=make_tubes(3)).SerializeToString())
    assert len(validated.results) == 3
    await asyncio.to_thread(pool.close)
