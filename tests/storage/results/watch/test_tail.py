"""The tail of the change log: one read serves all readers, and each gets everything in order, however slow some are."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import AsyncExitStack

import pytest

from services.domain.errors import HutongError, OutOfRange, Unavailable
from services.domain.instant import MINUTE
from services.results.changelog.append import append_entry
from services.results.changelog.model import ChangeKind, Cursor, Position
from services.results.records.model import StoredResult
from services.results.timing import ResultsTiming
from services.results.watch.batches import ChangeBatch
from services.results.watch.store import WatchStore
from services.results.watch.tail import ChangePage, ChangeTail, TailLimits, TailReader
from services.runtime.clock import FixedClock
from services.runtime.server.service import Drain
from tests.support.results.factories import NOW, make_tubes
from tests.support.results.store import Laboratory, open_laboratory
from tests.support.virtual_time import in_virtual_time, pass_time
from tests.support.waiting import TIMEOUT_SECONDS, turns, until
from tests.support.work import noting_statements

AT_ONCE_SECONDS = 0.2


def tail_of(
    laboratory: Laboratory, timing: ResultsTiming | None = None, limits: TailLimits | None = None
) -> ChangeTail:
    news = laboratory.database.written
    return ChangeTail(laboratory.stores.watch, laboratory.clock, Drain(), news, timing or ResultsTiming(), limits)


def names(page: ChangePage) -> list[str]:
    return [found[0].report_number for slice_ in page.slices for found in slice_.results if found is not None]


async def results_by(reader: TailReader, count: int) -> list[str]:
    """Return the next `count` results of a reader."""
    seen: list[str] = []
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while len(seen) < count:
            seen += names(await reader.next(TIMEOUT_SECONDS))
    return seen


def count_reads(statements: list[str]) -> int:
    """Return how many of the statements read the log."""
    return sum("change" in statement and statement.startswith("SELECT") for statement in statements)


async def test_two_hundred_followers_cost_one_query_a_look(laboratory: Laboratory) -> None:
    """A commit is read once for all of them."""
    tail = tail_of(laboratory)
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(tail.open({})) for _ in range(200)]
        for page in await asyncio.gather(*(reader.next(1) for reader in readers)):
            assert (page.slices, page.as_of_time) == ([], NOW)
        with noting_statements(laboratory.database.reading_engine) as statements:
            await asyncio.gather(*(reader.next(1.0) for reader in readers))
        assert 0 < count_reads(statements) < len(readers), "not one for each"
        with noting_statements(laboratory.database.reading_engine) as statements:
            read = asyncio.gather(*(results_by(reader, 40) for reader in readers))
            await laboratory.send(make_tubes(40))
            assert await read == [[f"R{place}" for place in range(40)]] * 200
        assert count_reads(statements) < len(readers)


async def test_a_commit_of_this_process_is_read_at_once(sqlite: Laboratory) -> None:
    """The read does not wait for the next poll."""
    async with tail_of(sqlite, ResultsTiming(tail_poll=3600.0)).open({}) as reader:
        await reader.next(0)
        await reader.next(0.1)
        await sqlite.send(make_tubes(1))
        assert names(await asyncio.wait_for(reader.next(3600.0), TIMEOUT_SECONDS)) == ["R0"]


async def test_a_commit_of_another_process_is_found(laboratory: Laboratory) -> None:
    async with tail_of(laboratory).open({}) as reader:
        await reader.next(0)
        async with open_laboratory(laboratory.database.engine.url.render_as_string(hide_password=False)) as other:
            await other.send(make_tubes(1))
        assert await results_by(reader, 1) == ["R0"]


async def test_readers_of_every_pace_get_everything_in_order(laboratory: Laboratory) -> None:
    """Some readers fall behind the window, some begin later at a cursor in the middle, while six streams upload."""
    tail = tail_of(laboratory, limits=TailLimits(read=7, window=40, page=5))
    everything, committed = 6 * 8 * 4, 0

    async def stream(number: int) -> None:
        position = laboratory.position(f"u{number}")
        nonlocal committed
        for batch in range(8):
            await laboratory.send(make_tubes(4, 1000 * number + 4 * batch), batch * 4, position=position)
            committed += 4

    async def dawdle(most: int) -> None:
        await until(lambda: committed >= most)

    async def follow(seed: int, *, begun: list[str], cursor: Cursor) -> list[str]:
        chance = random.Random(seed)
        seen = list(begun)
        async with tail.open(cursor) as reader:
            while len(seen) < everything:
                page = await reader.next(TIMEOUT_SECONDS)
                seen += names(page)
                for part in page.slices:
                    cursor[part.entry.writer_id] = part.position
                if seed % 2:
                    await dawdle(min(everything, len(seen) + chance.randrange(60)))
                if seed == 3 and chance.random() < 0.3:
                    # The reader closes and opens again with its cursor.
                    return await follow(seed + 2, begun=seen, cursor=cursor)
        return seen

    async with asyncio.timeout(6 * TIMEOUT_SECONDS):
        follows = [asyncio.ensure_future(follow(seed, begun=[], cursor={})) for seed in range(6)]
        await asyncio.gather(*(stream(number) for number in range(6)))
        for seen in await asyncio.gather(*follows):
            assert sorted(seen) == sorted(f"R{1000 * number + place}" for number in range(6) for place in range(32))
            for number in range(6):
                own = [int(name[1:]) for name in seen if int(name[1:]) // 1000 == number]
                assert own == sorted(own)


async def test_subscribers_that_do_not_read_hold_nothing(sqlite: Laboratory) -> None:
    """A hundred readers hold one page each while more is committed than the window holds. They still get all of it."""
    tail = tail_of(sqlite, limits=TailLimits(read=50, window=100, page=10))
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(tail.open({})) for _ in range(100)]
        lively = await stack.enter_async_context(tail.open({}))
        await asyncio.gather(*(reader.next(0) for reader in (lively, *readers)))
        pages = []
        for batch in range(20):
            await sqlite.send(make_tubes(100, 100 * batch), upload_id=f"u{batch}")
            await results_by(lively, 100)
            pages += [await reader.next(0) for reader in readers[5 * batch : 5 * batch + 5]]
        assert all(page.slices for page in pages)
        gc.collect()
        held = sum(isinstance(each, StoredResult) for each in gc.get_objects())
        assert held <= 100 * 10 + 100 + 50
        del pages
        assert await results_by(readers[0], 1_990) == [f"R{place}" for place in range(10, 2_000)]


async def test_those_behind_read_two_at_a_time(sqlite: Laboratory) -> None:
    """Half of the database's threads stay free for look-ups."""
    await sqlite.send(make_tubes(3))
    reading, most = 0, 0

    class Counting(WatchStore):
        async def read_changes(self, cursor: Cursor, now: int, limit: int) -> ChangeBatch:
            nonlocal reading, most
            behind = limit == TailLimits().page
            reading += behind
            most = max(most, reading)
            try:
                return await super().read_changes(cursor, now, limit)
            finally:
                reading -= behind

    store = Counting(sqlite.database, sqlite.stores.lab_cache)
    tail = ChangeTail(store, sqlite.clock, Drain(), sqlite.database.written, ResultsTiming())

    async def follow() -> list[str]:
        async with tail.open({}) as reader:
            return await results_by(reader, 3)

    assert await asyncio.gather(*(follow() for _ in range(20))) == [["R0", "R1", "R2"]] * 20
    assert most == TailLimits().database_reads


async def test_a_page_says_up_to_when_it_is_complete(sqlite: Laboratory) -> None:
    """The instant is None while there is more to read, and never goes back."""
    await sqlite.send(make_tubes(3))
    async with tail_of(sqlite, limits=TailLimits(page=2)).open({}) as reader:
        pages = [await reader.next(AT_ONCE_SECONDS) for _ in range(3)]
        assert [(names(page), page.as_of_time) for page in pages] == [(["R0", "R1"], None), (["R2"], NOW), ([], NOW)]
        sqlite.clock.advance(MINUTE)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (page := await reader.next(AT_ONCE_SECONDS)).as_of_time == NOW:
                assert page.slices == []
        assert page.as_of_time == NOW + MINUTE


class FailingStore(WatchStore):
    """A store with an empty log. The store can be unavailable, and needs no database."""

    def __init__(self) -> None:
        self.error: HutongError | None = None
        self.looks = 0

    async def newest_cursor(self) -> Cursor:
        self._check()
        return {}

    async def read_changes(self, cursor: Cursor, now: int, limit: int) -> ChangeBatch:
        self._check()
        assert (cursor, now) == ({}, NOW)
        assert limit > 0
        return ChangeBatch([], is_complete=True)

    def _check(self) -> None:
        self.looks += 1
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    "error", [Unavailable("DATABASE_UNAVAILABLE", "away"), OutOfRange("CURSOR_TOO_OLD", "of another log")]
)
async def test_an_unavailable_log_fails_each_reader_and_is_read_again_when_it_is_back(
    sqlite: Laboratory, error: HutongError
) -> None:
    store = FailingStore()
    tail = ChangeTail(store, sqlite.clock, Drain(), asyncio.Event(), ResultsTiming())
    async with tail.open({}) as one, tail.open({}) as other:
        for reader in (one, other):
            await reader.next(0)
        store.error = error
        for reader in (one, other):
            with pytest.raises(type(error)):
                await asyncio.wait_for(reader.next(3600.0), TIMEOUT_SECONDS)
        store.error = None
        assert (await one.next(AT_ONCE_SECONDS)).as_of_time == NOW


@in_virtual_time
async def test_the_log_is_not_read_without_subscribers() -> None:
    store = FailingStore()
    tail = ChangeTail(store, FixedClock(NOW), Drain(), asyncio.Event(), ResultsTiming())
    for _ in range(2):
        async with tail.open({}) as reader:
            await reader.next(AT_ONCE_SECONDS)
        read = store.looks
        await pass_time(3 * ResultsTiming().tail_poll)
        assert store.looks == read > 1


async def test_followers_are_let_go_when_the_server_stops(sqlite: Laboratory) -> None:
    """Readers get an empty page, long before their timeout."""
    drain = Drain()
    tail = ChangeTail(sqlite.stores.watch, sqlite.clock, drain, sqlite.database.written, ResultsTiming())
    async with tail.open({}) as reader:
        await reader.next(0)
        waiting = asyncio.ensure_future(reader.next(3600.0))
        await turns(1)
        drain.begin()
        assert (await asyncio.wait_for(waiting, TIMEOUT_SECONDS)).slices == []


async def test_entries_of_other_kinds_are_followed_too(sqlite: Laboratory) -> None:
    """Slices of such entries hold names and no results."""
    await sqlite.database.write(append_entry, "", [("a-link", 0)], NOW, ChangeKind.LINKS)
    async with tail_of(sqlite).open({}) as reader:
        (part,) = (await reader.next(0)).slices
        assert (part.entry.reports, part.results, part.position) == ([("a-link", 0)], [None], Position(1))
