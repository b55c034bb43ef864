"""The change log: with concurrent writers nothing is skipped, and each writer's changes are in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import Connection, text

from services.domain.errors import OutOfRange
from services.domain.instant import DAY, HOUR, SECOND
from services.results.changelog import log
from services.results.changelog.append import append_entry
from services.results.changelog.log import oldest_cursor, read_entries, read_log, remove_entries
from services.results.changelog.model import Cursor, Entry, Position
from services.results.records.queries import find_revisions
from services.results.retention.purge import purge
from services.results.watch.batches import ChangeSlice
from tests.support.databases import MakeUrl
from tests.support.results.factories import NOW, OTHER_USCC, PENDING, REPORTED, USCC, make_tube, make_tubes
from tests.support.results.store import Laboratory, open_laboratory
from tests.support.work import counting_work

MANY = 1_000


async def read_parts(laboratory: Laboratory, cursor: Cursor, limit: int) -> list[ChangeSlice]:
    """Return what is new, and advance the cursor."""
    parts = (await laboratory.stores.watch.read_changes(cursor, NOW, limit)).slices
    for part in parts:
        cursor[part.entry.writer_id] = part.position
    return parts


async def read_on(laboratory: Laboratory, cursor: Cursor) -> list[Entry]:
    """Do as `read_parts`, for whole commits."""
    parts = await read_parts(laboratory, cursor, MANY)
    assert all((part.start, part.end) == (0, len(part.entry.reports)) for part in parts)
    return [part.entry for part in parts]


async def read_to_end(laboratory: Laboratory, cursor: Cursor) -> list[Entry]:
    entries: list[Entry] = []
    while new := await read_on(laboratory, cursor):
        entries += new
    return entries


def numbers(entries: Sequence[Entry]) -> list[str]:
    return [number for entry in entries for number, _ in entry.reports]


def named(part: ChangeSlice) -> str:
    """Return the revisions of a part, with a mark for each that was not found."""
    return " ".join("-" if each is None else f"{each[0].report_number}@{each[0].revision}" for each in part.results)


async def test_uploads_corrections_and_recalls_are_read_in_order(laboratory: Laboratory) -> None:
    """Entries come with the results as they are now. Duplicates and rejections are no changes."""
    await laboratory.send([make_tube(0, outcome=PENDING), make_tube(1)])
    await laboratory.send([make_tube(0), make_tube(1), make_tube(2, region="999999")], upload_id="v", now=NOW + SECOND)
    read = (await laboratory.stores.watch.read_changes({}, NOW, MANY)).slices
    assert [(part.entry.lab, list(part.entry.reports)) for part in read] == [
        (USCC, [("R0", 1), ("R1", 1)]),
        (USCC, [("R0", 2)]),
    ]
    assert [named(part) for part in read] == ["R0@1 R1@1", "R0@2"]


class PlainLog:
    """A log for comparison: one sequence for all writers, whose numbers are drawn before the commit."""

    def __init__(self, connection: Connection) -> None:
        connection.execute(text("CREATE TABLE plain_changes (number BIGSERIAL PRIMARY KEY, report TEXT NOT NULL)"))
        self.cursor = 0

    @staticmethod
    def append(connection: Connection, report: str) -> None:
        connection.execute(text("INSERT INTO plain_changes (report) VALUES (:report)"), {"report": report})

    def read(self, connection: Connection) -> list[str]:
        query = text("SELECT number, report FROM plain_changes WHERE number > :cursor ORDER BY number")
        rows = connection.execute(query, {"cursor": self.cursor}).all()
        if rows:
            self.cursor = rows[-1].number
        return [row.report for row in rows]


async def test_a_late_commit_is_skipped_by_a_plain_sequence_and_not_by_this_log(postgresql: Laboratory) -> None:
    """Both logs get the same interleaving: an earlier number is committed after a later one is read."""
    engine = postgresql.database.engine
    with engine.begin() as setup:
        plain = PlainLog(setup)
    cursor: Cursor = {}

    def both(connection: Connection, report: str) -> None:
        plain.append(connection, report)
        append_entry(connection, USCC, [(report, 1)], NOW)

    async def read() -> tuple[list[str], list[str]]:
        with engine.connect() as reading:
            return plain.read(reading), numbers(await read_on(postgresql, cursor))

    with engine.connect() as late:
        with late.begin():
            both(late, "late")
            with engine.begin() as early:
                both(early, "early")
            assert await read() == (["early"], ["early"])
        assert await read() == ([], ["late"])


async def test_a_writer_is_held_until_the_commit_and_free_after_it(postgresql: Laboratory) -> None:
    """Concurrent transactions have a writer each. Consecutive ones share a writer, also after a rollback."""
    engine = postgresql.database.engine
    with engine.connect() as first, engine.connect() as second:
        first.begin(), second.begin()
        append_entry(first, USCC, [("A", 1)], NOW)
        append_entry(second, USCC, [("B", 1)], NOW)
        second.commit()
        first.rollback()
    for report in "CDE":
        await postgresql.database.write(append_entry, USCC, [(report, 1)], NOW)
    entries = await read_to_end(postgresql, {})
    assert sorted((entry.writer_id, entry.sequence, *numbers([entry])) for entry in entries) == [
        (entries[0].writer_id, number, report) for number, report in enumerate("BCDE", 1)
    ]


async def test_many_concurrent_writers_are_read_completely_and_in_order(database_url: MakeUrl) -> None:
    """Three processes write nine streams while a watcher reads."""
    url = database_url("results")
    async with AsyncExitStack() as stack:
        places = [await stack.enter_async_context(open_laboratory(url)) for _ in range(3)]
        watcher = await stack.enter_async_context(open_laboratory(url))
        sent: dict[int, list[str]] = {}

        async def stream(number: int) -> None:
            laboratory = places[number % 3]
            position = laboratory.position(f"u{number}")
            for batch in range(6):
                first = number * 1000 + batch * 3
                await laboratory.send(make_tubes(3, first), batch * 3, position=position)
                sent.setdefault(number, []).extend(f"R{person}" for person in range(first, first + 3))

        async def watch(streams: asyncio.Future[list[None]]) -> list[Entry]:
            cursor: Cursor = {}
            seen: list[Entry] = []
            while not streams.done():
                seen += await read_on(watcher, cursor)
            return seen + await read_to_end(watcher, cursor)

        streams = asyncio.gather(*(stream(number) for number in range(9)))
        seen = await watch(streams)
        await streams
    read = numbers(seen)
    assert sorted(read) == sorted(number for stream in sent.values() for number in stream)
    for writer in {entry.writer_id for entry in seen}:
        sequences = [entry.sequence for entry in seen if entry.writer_id == writer]
        assert sequences == list(range(1, len(sequences) + 1))


async def test_a_clock_that_is_set_back_changes_no_writers_order(laboratory: Laboratory) -> None:
    for number in range(5):
        await laboratory.database.write(append_entry, USCC, [(f"R{number}", 1)], NOW - number * SECOND)
    assert numbers(await read_to_end(laboratory, {})) == [f"R{number}" for number in range(5)]


async def test_very_much_is_read_in_parts(laboratory: Laboratory) -> None:
    """Entries of a writer and results are limited, so a watcher's memory is bounded for commits of any size."""
    for number in range(3):
        await laboratory.send(make_tubes(3, 10 * number), upload_id=f"u{number}")
    await laboratory.send(make_tubes(12, 100), upload_id="large")
    await laboratory.send(make_tubes(2, 200), upload_id="last")
    cursor: Cursor = {}
    read = []
    while new := await read_parts(laboratory, cursor, 5):
        read.append([named(part) for part in new])
    assert [[len(part.split()) for part in parts] for parts in read] == [[3], [3], [3], [5], [5], [2, 2]]
    reports = [*range(3), *range(10, 13), *range(20, 23), *range(100, 112), 200, 201]
    assert " ".join(part for parts in read for part in parts) == " ".join(f"R{report}@1" for report in reports)
    few = await laboratory.database.read(read_log, {}, max_entries=2)
    assert [len(entry.reports) for entry in few.entries] == [3, 3]


async def test_a_cursor_is_too_old_once_something_after_it_was_removed(laboratory: Laboratory) -> None:
    """The cursor may lack the writer, and everything may be removed.

    A cursor at the oldest position is never too old.
    """
    before: Cursor = {}
    await laboratory.send(make_tubes(1), now=NOW - 40 * DAY)
    (first,) = await read_on(laboratory, before)
    in_time: Cursor = {first.writer_id: Position(2)}
    await laboratory.send(make_tubes(1, 1), upload_id="v", now=NOW - 35 * DAY)
    assert not purge_entries(laboratory, NOW - 30 * DAY)
    for cursor in ({}, before):
        with pytest.raises(OutOfRange) as caught:
            await read_on(laboratory, cursor)
        assert caught.value.reason == "CURSOR_TOO_OLD"
    assert await read_on(laboratory, in_time) == []
    await laboratory.send(make_tubes(1, 2), upload_id="w")
    oldest = await laboratory.stores.watch.oldest_cursor()
    assert [numbers(await read_on(laboratory, cursor)) for cursor in (in_time, oldest)] == [["R2"], ["R2"]]


def purge_entries(laboratory: Laboratory, before: int, step_size: int = log.REMOVED_STEP) -> bool:
    writers = laboratory.database.read_now(log.list_writers)
    return any(laboratory.database.write_now(remove_entries, writer_id, before, step_size)[1] for writer_id in writers)


async def test_numbers_go_on_after_everything_was_removed(laboratory: Laboratory) -> None:
    """If a writer began again at 1, cursors that are further on would skip its entries."""
    cursor: Cursor = {}
    await laboratory.send(make_tubes(3), now=NOW - 2 * DAY)
    await read_to_end(laboratory, cursor)
    purge(laboratory.database, NOW - DAY, NOW)
    purge_entries(laboratory, NOW - DAY)
    assert await read_on(laboratory, cursor) == []
    tube = make_tube(9, reported=REPORTED)
    await laboratory.send([tube], upload_id="v")
    assert numbers(await read_on(laboratory, cursor)) == ["R9"]


async def test_only_a_beginning_of_a_writers_entries_is_removed(laboratory: Laboratory) -> None:
    """Removal goes in steps up to the first young entry, and keeps all entries after that one."""
    ages = [9, 8, 7, 1, 9, 9]
    for number, age in enumerate(ages):
        await laboratory.database.write(append_entry, USCC, [(f"R{number}", 1)], NOW - age * HOUR)
    assert purge_entries(laboratory, NOW - 5 * HOUR, 2)
    assert not purge_entries(laboratory, NOW - 5 * HOUR, 2)
    oldest = await laboratory.stores.watch.oldest_cursor()
    assert numbers(await read_to_end(laboratory, oldest)) == ["R3", "R4", "R5"]


async def test_a_cursor_of_another_log_is_refused(laboratory: Laboratory) -> None:
    """The cursor may be ahead, as after a restore, or have an unknown writer. Reading on would skip changes."""
    await laboratory.send(make_tubes(1))
    (entry,) = await read_on(laboratory, {})
    for cursor in ({entry.writer_id: Position(2)}, {entry.writer_id + 77: Position(0)}):
        with pytest.raises(OutOfRange):
            await read_on(laboratory, cursor)


async def test_results_that_were_removed_are_left_out_of_their_entry(laboratory: Laboratory) -> None:
    """Retention removes results by the age of their reports, and erases their numbers from entries that it keeps."""
    old = make_tube(0, reported=NOW - 70 * DAY)
    await laboratory.send([old, make_tube(1)])
    purge(laboratory.database, NOW - 30 * DAY, NOW)
    (part,) = (
        await laboratory.stores.watch.read_changes(await laboratory.stores.watch.oldest_cursor(), NOW, MANY)
    ).slices
    assert numbers([part.entry]) == ["", "R1"]
    assert named(part) == "- R1@1"


def test_an_empty_change_is_no_entry(sqlite_url: MakeUrl) -> None:
    """A batch of only duplicates wakes no watcher."""

    async def check() -> None:
        async with open_laboratory(sqlite_url("results")) as laboratory:
            await laboratory.database.write(append_entry, OTHER_USCC, [], NOW)
            assert await laboratory.database.read(oldest_cursor) == {}
            assert await laboratory.database.read(read_entries, {}) == []

    asyncio.run(check())


async def test_reports_of_one_subject_are_read_as_fast_as_others(laboratory: Laboratory) -> None:
    """Reading 2,000 reports of one subject takes no longer than reading others, so they delay no watcher."""

    async def work_to_read(upload_id: str) -> int:
        entries = await read_to_end(laboratory, {})
        read = [entry for entry in entries if entry.reports[0][0].startswith(upload_id)]
        with counting_work(laboratory.database) as work:
            for entry in read:
                listed = await laboratory.database.read(find_revisions, USCC, entry.reports)
                assert len(listed) == len(entry.reports)
        return work.amount

    for upload_id, one_number in (("many", False), ("one", True)):
        tubes = make_tubes(1_000)
        for index, tube in enumerate(tubes):
            tube.persons[0].report_number = f"{upload_id}{index}"
            if one_number:
                tube.persons[0].document.CopyFrom(tubes[0].persons[0].document)
        await laboratory.send(tubes, upload_id=upload_id)
    assert await work_to_read("one") < 2 * await work_to_read("many")


async def test_a_made_up_cursor_reads_no_more_than_others(laboratory: Laboratory) -> None:
    """A position with more reports than the commit has is at the commit's end."""
    for number in range(4):
        await laboratory.send(make_tubes(3, 10 * number), upload_id=f"u{number}")
    ((writer, _),) = (await laboratory.stores.watch.newest_cursor()).items()
    cursor = {writer: Position(0, 2**62)}
    read = [named(part) for part in await read_parts(laboratory, cursor, 3)]
    assert (read, cursor) == (["", "R10@1 R11@1 R12@1"], {writer: Position(2)})
