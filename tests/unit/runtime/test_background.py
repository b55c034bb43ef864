"""Background jobs: all run, one that fails is begun again, and all have ended when they are stopped."""

from __future__ import annotations

import asyncio
import gc

import pytest

from services.runtime.background import Background, begin_ahead
from tests.support.waiting import turns


async def test_jobs_run_side_by_side_and_end_together() -> None:
    running = {"first": asyncio.Event(), "second": asyncio.Event()}
    ended: list[str] = []

    async def job(name: str) -> None:
        try:
            running[name].set()
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    background = Background([lambda: job("first"), lambda: job("second")])
    background.start()
    await asyncio.gather(*(event.wait() for event in running.values()))
    await background.stop()
    assert sorted(ended) == ["first", "second"]


async def test_a_job_that_fails_is_begun_again_and_harms_no_other() -> None:
    begun = 0
    again = asyncio.Event()
    steady_ended = asyncio.Event()

    async def failing() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise RuntimeError("unforeseen")
        again.set()
        await asyncio.Event().wait()

    async def steady() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            steady_ended.set()

    background = Background([failing, steady], restart_seconds=0.0)
    background.start()
    await again.wait()
    assert begun == 3
    assert not steady_ended.is_set()
    await background.stop()
    assert steady_ended.is_set()


async def test_a_job_that_has_ended_is_not_started_again() -> None:
    begun = asyncio.Semaphore(0)
    done = asyncio.Event()

    async def once() -> None:
        begun.release()
        done.set()

    background = Background([once], restart_seconds=0.0)
    background.start()
    await done.wait()
    await turns()
    await background.stop()
    await begun.acquire()
    assert begun.locked()


async def test_what_was_never_started_can_be_stopped() -> None:
    await Background([]).stop()


async def test_an_error_that_nothing_awaits_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError

    begun = begin_ahead(fail())
    await asyncio.wait([begun])
    del begun
    gc.collect()
    assert not caplog.records
    with pytest.raises(RuntimeError):
        await begin_ahead(fail())
