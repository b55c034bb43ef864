"""Recalls: dry runs, short steps beside uploads, request ids, and no return of recalled reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, event

from services.domain.errors import InvalidArgument, NotFound
from services.domain.instant import DAY, HOUR, MINUTE
from services.results.records.model import ACTIVE, RECALLED, SUPERSEDED
from services.results.records.partitions import month_of, month_start
from services.results.retention.purge import purge
from tests.support.databases import MakeUrl
from tests.support.results.factories import (
    NEGATIVE,
    NOW,
    OTHER_USCC,
    PENDING,
    POSITIVE,
    REPORTED,
    USCC,
    make_lab,
    make_tube,
    make_tubes,
    subject_key,
)
from tests.support.results.operations import correct, recall, register
from tests.support.results.store import Laboratory, counts, open_laboratory, rejected
from tests.support.waiting import until
from tests.support.work import noting_statements

REQUEST_ID = "0192f0c1-0000-7000-8000-00000000000{}"
LARGE = 5_000
"""Reports of a large recall: ten steps."""


@pytest.fixture
async def laboratory(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    async with open_laboratory(database_url("results")) as opened:
        await register(opened)
        yield opened


async def states(laboratory: Laboratory) -> list[tuple[str, int, int]]:
    return [
        (number, revision, state)
        for number, revision, state in await laboratory.rows("report_number", "revision", "state")
    ]


async def test_a_recall_takes_back_its_interval_and_nothing_else(laboratory: Laboratory) -> None:
    """The interval includes its start, excludes its end, and spans months. A dry run has the same count."""
    times = [REPORTED - 40 * DAY - 1, REPORTED - 40 * DAY, REPORTED - DAY, REPORTED - 1, REPORTED]
    await laboratory.send([make_tube(person, reported=reported) for person, reported in enumerate(times)])
    before = await states(laboratory)
    assert await recall(laboratory, REPORTED - 40 * DAY, REPORTED, dry_run=True) == 3
    assert await states(laboratory) == before
    assert await recall(laboratory, REPORTED - 40 * DAY, REPORTED) == 3
    assert await states(laboratory) == [
        ("R0", 1, ACTIVE),
        *(
            (f"R{person}", revision, state)
            for person in (1, 2, 3)
            for revision, state in ((1, SUPERSEDED), (2, RECALLED))
        ),
        ("R4", 1, ACTIVE),
    ]
    assert await recall(laboratory, REPORTED - 40 * DAY, REPORTED, dry_run=True) == 0
    assert await recall(laboratory, REPORTED - 40 * DAY, REPORTED) == 0


async def test_a_recall_by_outcome_goes_by_what_the_report_says_now(laboratory: Laboratory) -> None:
    """The outcome after a correction counts. Sampling records are found by their sample time."""
    await laboratory.send([make_tube(0, outcome=POSITIVE), make_tube(1), make_tube(2, outcome=PENDING)])
    await correct(laboratory, NEGATIVE)
    assert await recall(laboratory, REPORTED - DAY, NOW, POSITIVE) == 0
    assert await recall(laboratory, REPORTED - DAY, NOW, PENDING, dry_run=True) == 1
    assert await recall(laboratory, REPORTED - 3 * HOUR, NOW, PENDING, NEGATIVE) == 2
    assert (await states(laboratory))[-1] == ("R2", 1, ACTIVE)


async def test_a_recalled_result_is_returned_as_recalled_with_all_its_content(laboratory: Laboratory) -> None:
    await laboratory.send([make_tube(0)])
    (before,) = (await laboratory.stores.lookup.get_result(USCC, "R0", None)).results
    laboratory.clock.advance(MINUTE)
    await recall(laboratory)
    expected = before._replace(revision=2, state=RECALLED, upload_time=NOW)
    assert (await laboratory.stores.lookup.get_result(USCC, "R0", None)).results == [expected]
    matches = await laboratory.stores.lookup.find_subjects([subject_key(0)], [(USCC, "R0")], NOW)
    assert (list(matches.by_subject), matches.by_report) == ([[expected]], {(USCC, "R0"): expected})
    changes = await laboratory.stores.watch.read_changes({}, NOW, 9)
    assert list(changes.slices[-1].entry.reports) == [("R0", 2)]


async def test_what_was_recalled_never_counts_again(laboratory: Laboratory) -> None:
    """The same upload is a duplicate. A result of a recalled sampling record is a conflict."""
    tubes = [make_tube(0), make_tube(1, outcome=PENDING)]
    await laboratory.send(tubes)
    await recall(laboratory)
    assert counts(await laboratory.send(tubes, upload_id="v")) == (2, 0, 2, 0)
    assert rejected(await laboratory.send([make_tube(1)], upload_id="w")) == [(0, 0, ["CONFLICT"])]
    renumbered = make_tube(0)
    renumbered.persons[0].report_number = "S0"
    assert counts(await laboratory.send([renumbered], upload_id="x")) == (1, 1, 0, 0)


async def test_a_request_id_recalls_once(laboratory: Laboratory) -> None:
    """A repeated call returns the first answer and recalls no later upload. Other content is refused."""
    await laboratory.send(make_tubes(3))
    asked = {"request_id": REQUEST_ID.format(1)}
    assert await recall(laboratory, dry_run=True, **asked) == 3  # type: ignore[arg-type]
    assert await recall(laboratory, **asked) == 3  # type: ignore[arg-type]
    await laboratory.send(make_tubes(2, 10), upload_id="v")
    assert await recall(laboratory, **asked) == 3  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as caught:
        await recall(laboratory, reason="another", **asked)  # type: ignore[arg-type]
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert [state for number, _, state in await states(laboratory) if number in ("R10", "R11")] == [ACTIVE, ACTIVE]
    assert await recall(laboratory, request_id=REQUEST_ID.format(2)) == 2


async def test_a_recall_that_was_cut_off_is_finished_by_calling_again(laboratory: Laboratory) -> None:
    """Each step is atomic. Its reports stay recalled, and the second call recalls the rest."""
    laboratory = laboratory.with_limits(recall_step=4)
    await laboratory.send(make_tubes(10))
    recalling = asyncio.ensure_future(recall(laboratory, request_id=REQUEST_ID.format(1)))
    loop = asyncio.get_running_loop()

    def cut_off(_connection: Connection) -> None:
        loop.call_soon_threadsafe(recalling.cancel)

    # The listener stays. Removing it while the thread of the commit calls it would make the commit fail.
    event.listen(laboratory.database.engine, "commit", cut_off)
    with pytest.raises(asyncio.CancelledError):
        await recalling

    async def is_committed() -> bool:
        return [state for _, _, state in await states(laboratory)].count(RECALLED) == 4

    # The event comes just before the commit, which goes on without its caller.
    await until(is_committed)
    assert await recall(laboratory, request_id=REQUEST_ID.format(1)) == 10, "with those of the call that was cut off"
    assert [state for _, _, state in await states(laboratory)] == [SUPERSEDED, RECALLED] * 10


async def test_concurrent_calls_of_a_request_return_the_same_count(laboratory: Laboratory) -> None:
    """Two processes continue one request together. Each call, also a later one, returns the whole count."""
    laboratory = laboratory.with_limits(recall_step=4)
    await laboratory.send(make_tubes(30))
    async with open_laboratory(laboratory.database.engine.url.render_as_string(hide_password=False)) as beside:
        asked = [recall(each, request_id=REQUEST_ID.format(1)) for each in (laboratory, beside, laboratory)]
        assert await asyncio.gather(*asked) == [30, 30, 30]
    assert await recall(laboratory, request_id=REQUEST_ID.format(1)) == 30
    assert [state for _, _, state in await states(laboratory)] == [SUPERSEDED, RECALLED] * 30


async def test_what_retention_removed_is_not_counted(laboratory: Laboratory) -> None:
    """A report keeps its key while an older revision is kept. Its removed newest revision is not recalled."""
    month = month_start(month_of(NOW))
    tubes = [make_tube(person, reported=month + HOUR, sampled=month - 9 * DAY) for person in range(2)]
    for tube in tubes:
        tube.ClearField("receive_time")
        tube.ClearField("test_time")
    await laboratory.send(tubes)
    await correct(laboratory, NEGATIVE, None, month - HOUR)
    purge(laboratory.database, month, NOW)
    for dry_run in (True, False):
        assert await recall(laboratory, month - 30 * DAY, NOW, dry_run=dry_run) == 1
    assert [row for row in await states(laboratory) if row[2] == RECALLED] == [("R1", 2, RECALLED)]


async def test_reports_are_locked_in_one_order_everywhere(postgres_url: MakeUrl) -> None:
    """The order is by code point, as uploads claim keys, for any collation of the database. This prevents deadlocks.

    The tests' PostgreSQL has no other collation, so the test examines the statements of a recall and a purge.
    """
    async with open_laboratory(postgres_url("results")) as laboratory:
        await register(laboratory)
        await laboratory.send(make_tubes(2))
        with noting_statements(laboratory.database.engine) as statements:
            await recall(laboratory)
            purge(laboratory.database, REPORTED, NOW)
    locked = [
        statement[statement.index("ORDER BY") :].split("FOR UPDATE", maxsplit=1)[0].strip()
        for statement in statements
        if "FROM report_keys" in statement and "FOR UPDATE" in statement
    ]
    by_number = 'report_keys.report_number COLLATE "C"'
    assert locked == [f"ORDER BY {by_number}", f'ORDER BY report_keys.lab COLLATE "C", {by_number}']


async def test_an_unknown_laboratory_is_not_found_and_anothers_reports_are_left_alone(laboratory: Laboratory) -> None:
    await laboratory.send([make_tube(0)])
    for dry_run in (True, False):
        with pytest.raises(NotFound):
            await recall(laboratory, lab=OTHER_USCC, dry_run=dry_run)
    await register(laboratory, make_lab(OTHER_USCC))
    assert await recall(laboratory, lab=OTHER_USCC) == 0
    assert await states(laboratory) == [("R0", 1, ACTIVE)]


async def test_reports_revised_meanwhile_are_taken_back_at_their_newest(laboratory: Laboratory) -> None:
    """Corrections and results of sampling records race with the recall. One revision at a time counts."""
    await laboratory.send([make_tube(person, outcome=PENDING) for person in range(40)])
    await asyncio.gather(
        recall(laboratory),
        *(laboratory.send([make_tube(person)], upload_id=f"u{person}") for person in range(0, 40, 2)),
        *(correct(laboratory, PENDING, REPORTED - 5 * HOUR, number=f"R{person}") for person in range(1, 40, 8)),
        return_exceptions=True,
    )
    await recall(laboratory)
    by_number: dict[str, list[tuple[int, int]]] = {}
    for number, revision, state in await states(laboratory):
        by_number.setdefault(number, []).append((revision, state))
    assert len(by_number) == 40
    for revised in by_number.values():
        assert [revision for revision, _ in revised] == list(range(1, len(revised) + 1))
        assert [state for _, state in revised] == [SUPERSEDED] * (len(revised) - 1) + [RECALLED]


async def test_uploads_go_on_during_a_large_recall(laboratory: Laboratory) -> None:
    """Each step is a transaction of its own, so an upload waits for at most one step, also on SQLite."""
    step = LARGE // 10
    laboratory = laboratory.with_limits(recall_step=step)
    for first in range(0, LARGE, 1000):
        await laboratory.send(make_tubes(1000, first), upload_id=f"u{first}")
    uploads = 0
    recalling = asyncio.ensure_future(recall(laboratory))
    while not recalling.done():
        person = LARGE + uploads
        await laboratory.send([make_tube(person, reported=REPORTED - 2 * DAY)], upload_id=f"v{person}")
        uploads += 1
    assert await recalling == LARGE
    assert uploads >= LARGE // step, "one at least between any two steps"
    assert len(await laboratory.rows("report_number")) == 2 * LARGE + uploads
