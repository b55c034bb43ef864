"""Order of the change log across writers: no change is read before one that was committed before it began."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, event

from services.domain.instant import SECOND
from services.results.changelog.append import append_entry
from services.results.changelog.log import MAX_ENTRIES, read_log
from services.results.changelog.model import Cursor, Position
from tests.support.results.factories import NOW, USCC
from tests.support.results.store import Laboratory


@contextmanager
def holding_first_writer(laboratory: Laboratory) -> Iterator[None]:
    """Hold the first writer in another transaction, which makes no entry."""
    with laboratory.database.engine.connect() as other:
        append_entry(other, USCC, [("held", 1)], NOW)
        yield
        other.rollback()


def commit(laboratory: Laboratory, report: str, now: int = NOW) -> None:
    laboratory.database.write_now(append_entry, USCC, [(report, 1)], now)


def read(laboratory: Laboratory, cursor: Cursor, max_entries: int = MAX_ENTRIES) -> list[str]:
    """Return the reports that come next, and advance the cursor."""
    page = laboratory.database.read_now(read_log, cursor, max_entries=max_entries)
    for entry in page.entries:
        cursor[entry.writer_id] = Position(entry.sequence)
    return [number for entry in page.entries for number, _ in entry.reports]


async def test_clocks_that_differ_change_no_order(postgresql: Laboratory) -> None:
    """The later commit has another writer and comes from a machine whose clock is behind."""
    commit(postgresql, "first")
    with holding_first_writer(postgresql):
        commit(postgresql, "second", NOW - SECOND)
    commit(postgresql, "third", NOW - 2 * SECOND)
    assert read(postgresql, {}) == ["first", "second", "third"]


async def test_what_lies_behind_a_writers_limit_holds_up_what_came_after_it(postgresql: Laboratory) -> None:
    """One read takes two entries of the first writer. The other writer's entry came after its third."""
    for report in ("A", "B", "C"):
        commit(postgresql, report)
    with holding_first_writer(postgresql):
        commit(postgresql, "D")
    commit(postgresql, "E")
    cursor: Cursor = {}
    assert [read(postgresql, cursor, 2) for _ in range(3)] == [["A", "B"], ["C", "D", "E"], []]


async def test_a_commit_during_a_read_is_returned_completely_or_not_at_all(postgresql: Laboratory) -> None:
    """Two commits happen after the first writer is read and before the second one is."""
    commit(postgresql, "A")
    with holding_first_writer(postgresql):
        commit(postgresql, "B")
    come_in = iter(["C", "D"])

    def interrupt(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "ORDER BY changes.sequence" in statement and (report := next(come_in, "")):
            commit(postgresql, report)
            with holding_first_writer(postgresql):
                commit(postgresql, next(come_in))

    event.listen(postgresql.database.reading_engine, "after_cursor_execute", interrupt)
    cursor: Cursor = {}
    assert [read(postgresql, cursor) for _ in range(2)] == [["A", "B"], ["C", "D"]]


async def test_revisions_of_a_report_come_in_their_order(laboratory: Laboratory) -> None:
    """Eight processes with clocks seconds apart revise five reports. A watcher reads few entries at a time."""
    revisions: Counter[str] = Counter()
    held = {f"R{index}": asyncio.Lock() for index in range(5)}

    async def revise(chance: random.Random) -> None:
        for _ in range(15):
            report = chance.choice(list(held))
            async with held[report]:
                revisions[report] += 1
                now = NOW + chance.randrange(-5, 5) * SECOND
                await laboratory.database.write(append_entry, USCC, [(report, revisions[report])], now)

    async def watch(revising: asyncio.Future[list[None]]) -> None:
        seen: Counter[str] = Counter()
        cursor: Cursor = {}
        done = read_all = False
        while not (done and read_all):
            # Checked before the read, because the next read returns what is committed during this one.
            done = revising.done()
            entries = (await laboratory.database.read(read_log, cursor, 4, max_entries=3)).entries
            read_all = not entries
            for entry in entries:
                cursor[entry.writer_id] = Position(entry.sequence)
                for report, revision in entry.reports:
                    assert revision == seen[report] + 1
                    seen[report] = revision
        assert seen == revisions

    await watch(asyncio.gather(*(revise(random.Random(seed)) for seed in range(8))))


async def test_entries_older_than_turns_go_by_their_times(postgresql: Laboratory) -> None:
    """Such entries stay in order within their writer, and come before all entries that have a turn."""

    def forget_turns(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE changes SET turn = 0")
        connection.exec_driver_sql("UPDATE change_writers SET newest_turn = 0")

    commit(postgresql, "second", NOW + SECOND)
    commit(postgresql, "third", NOW - SECOND)
    with holding_first_writer(postgresql):
        commit(postgresql, "first")
    postgresql.database.write_now(forget_turns)
    with holding_first_writer(postgresql):
        commit(postgresql, "fourth", NOW - SECOND)
    assert read(postgresql, {}) == ["first", "second", "third", "fourth"]
