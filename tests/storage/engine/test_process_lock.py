"""Process locks: one holder at a time, and a lock that is free again however its holder ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.storage.advisory_locks import AdvisoryLock, migration_lock
from services.storage.engine import Database, open_database
from services.storage.process_lock import aio_try_process_lock, try_process_lock
from tests.support.databases import MakeUrl
from tests.support.waiting import TIMEOUT_SECONDS, turns


@pytest.fixture
def two(database_url: MakeUrl) -> Iterator[tuple[Database, Database]]:
    """Results' database, opened as two processes would; the test runs once on each engine."""
    url = database_url("results")
    one, other = open_database(url), open_database(url)
    yield one, other
    one.close()
    other.close()


def is_free(database: Database, lock: AdvisoryLock = AdvisoryLock.SENDER) -> bool:
    """Return whether the lock can be taken, and release it again."""
    with try_process_lock(database, lock.name.lower(), lock) as is_held:
        return is_held


def test_a_lock_has_one_holder_and_locks_are_independent(two: tuple[Database, Database]) -> None:
    one, other = two
    with try_process_lock(one, "sender", AdvisoryLock.SENDER) as is_held:
        assert is_held
        assert not is_free(other)
        assert is_free(other, AdvisoryLock.PURGE)
    assert is_free(other)


def test_a_failed_holder_releases_the_lock(two: tuple[Database, Database]) -> None:
    one, other = two
    with pytest.raises(RuntimeError), try_process_lock(one, "sender", AdvisoryLock.SENDER):
        raise RuntimeError
    assert is_free(other)


async def test_a_cancelled_holder_releases_the_lock(two: tuple[Database, Database]) -> None:
    """The holder is cancelled while it holds the lock, and while a thread takes the lock for it."""
    one, other = two

    async def hold(held: asyncio.Event) -> None:
        async with aio_try_process_lock(one, "sender", AdvisoryLock.SENDER) as is_held:
            assert is_held
            held.set()
            await asyncio.Event().wait()

    for wait_until_held in (True, False):
        held = asyncio.Event()
        holder = asyncio.create_task(hold(held))
        if wait_until_held:
            await held.wait()
            assert not await asyncio.to_thread(is_free, other)
        else:
            # The thread has been given the work and nothing has waited for it.
            await turns(1)
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder
        assert await asyncio.to_thread(is_free, other)


async def test_a_holder_that_is_cancelled_twice_releases_the_lock(two: tuple[Database, Database]) -> None:
    """The second cancellation comes while the release waits for a thread. A service that stops cancels so at times."""
    one, other = two
    threads = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(threads)
    held, busy = asyncio.Event(), threading.Event()

    async def hold() -> None:
        async with aio_try_process_lock(one, "sender", AdvisoryLock.SENDER):
            held.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await held.wait()
    occupying = threads.submit(busy.wait, TIMEOUT_SECONDS)
    for _ in range(2):
        holder.cancel()
        await turns(3)
    busy.set()
    # `caught` keeps the frames. Without them the interpreter would close the file of the lock.
    with pytest.raises(asyncio.CancelledError) as caught:
        await holder
    assert occupying.result()
    assert await asyncio.to_thread(is_free, other)
    assert caught.tb


def test_no_two_locks_have_one_key() -> None:
    keys = [*AdvisoryLock, *map(migration_lock, ("results", "policy", "verification"))]
    assert len(set(keys)) == len(keys)
    assert len(AdvisoryLock.__members__) == len(AdvisoryLock)
