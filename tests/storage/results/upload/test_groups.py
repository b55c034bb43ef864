"""Batches of one upload that are committed together: stored and answered as one after another, or not at all."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hutong.results.v1 import upload_pb2
from sqlalchemy import Connection, Engine, event, select

from services.domain.instant import DAY
from services.results.changelog.tables import change_writers, changes
from services.results.records.bulk import PostgresqlBulk, SqliteBulk
from services.results.records.tables import report_keys, results
from services.results.timeliness.tables import delays, last_uploads
from services.results.upload.commits import group
from services.results.upload.model import ValidatedBatch
from services.results.upload.tables import known_batches, upload_rejections, uploads
from tests.support.databases import MakeUrl
from tests.support.results.factories import NEGATIVE, NOW, PENDING, POSITIVE, REPORTED, make_tube, validate_batch
from tests.support.results.store import Laboratory, counts, open_laboratory

TABLES = (
    report_keys,
    results,
    uploads,
    upload_rejections,
    known_batches,
    delays,
    last_uploads,
    change_writers,
    changes,
)
STEPS = 40
"""More steps than a group has."""


def make_batches(laboratory: Laboratory, seed: int, numbers: Sequence[int]) -> list[ValidatedBatch]:
    """Return three batches that follow one another, with persons of these numbers.

    Some are sampling records or positive. In the first and the last batch some are rejected.
    """
    choose = random.Random(seed)
    tubes: list[upload_pb2.Tube] = []
    for index, number in enumerate(numbers):
        outcome = choose.choice((PENDING, POSITIVE, NEGATIVE, NEGATIVE))
        tube = make_tube(number, outcome=outcome, reported=REPORTED - number % 7 * DAY)
        if index in (2, 5, 7):
            tube.persons[0].document.number = "no such number"
        tubes.append(tube)
    batches, offset = [], 0
    for size in (3, 1, len(tubes) - 4):
        some = validate_batch(tubes[offset : offset + size], offset, dialect=laboratory.dialect)
        batches.append(replace(some, digest=bytes([seed, offset]) * 8))
        offset += size
    return batches


def dump(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of all tables that a commit writes, without `life`, which differs between databases."""
    return {
        table.name: sorted(
            tuple(row) for row in connection.execute(select(*(one for one in table.c if one.name != "life")))
        )
        if table is not results
        else sorted(map(repr, connection.execute(select(table))))
        for table in TABLES
    }


async def test_a_group_is_stored_and_answered_as_its_batches_one_after_another(database_url: MakeUrl) -> None:
    """The rows of both databases are the same, whatever the order of the report numbers."""
    async with (
        open_laboratory(database_url("results")) as together,
        open_laboratory(database_url("results")) as alone,
    ):
        for seed in range(3):
            numbers = [*range(seed * 20, seed * 20 + 12)]
            if seed:
                random.Random(seed).shuffle(numbers)
            now = NOW + seed * DAY
            batches = make_batches(together, seed, numbers)
            upload = f"u{seed}"
            expected = []
            position = alone.position(upload)
            for number, batch in enumerate(batches):
                expected.append(await alone.stores.uploads.commit_batch(position, batch, now + number))
            found = await together.stores.uploads.commit_group(together.position(upload), batches, now)
            assert found is not None
            assert [counts(one) for one in found] == [counts(one) for one in expected]
            assert [one.rejections for one in found] == [one.rejections for one in expected]
            assert [one.position[1:] for one in found] == [one.position[1:] for one in expected]
        assert await together.database.read(dump) == await alone.database.read(dump)


class _Killed(Exception):
    """The process ends here."""


@contextmanager
def failing_at(engine: Engine, step: int) -> Iterator[None]:
    """Let the transaction fail before its step of this number: a statement, a COPY or the commit."""
    left = [step]

    def take(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise _Killed

    with pytest.MonkeyPatch.context() as patched:
        for bulk in (PostgresqlBulk, SqliteBulk):
            for name in ("insert_keys", "insert_results"):
                patched.setattr(bulk, name, _after(take, getattr(bulk, name)))
        for moment in ("before_cursor_execute", "commit"):
            event.listen(engine, moment, take)
        try:
            yield
        finally:
            for moment in ("before_cursor_execute", "commit"):
                event.remove(engine, moment, take)


def _after(take: Any, work: Any) -> Any:
    def run(*arguments: Any) -> Any:
        take()
        return work(*arguments)

    return run


async def test_a_group_that_ends_at_any_step_leaves_nothing(laboratory: Laboratory) -> None:
    """Nothing is stored while one step fails. Once no step fails, the group is stored as a whole."""
    batches = make_batches(laboratory, 3, range(12))
    store = laboratory.stores.uploads
    await store.commit_group(laboratory.position("before"), make_batches(laboratory, 4, range(100, 112)), NOW)
    before = await laboratory.database.read(dump)
    for step in range(1, STEPS):
        with failing_at(laboratory.database.engine, step):
            found = await store.commit_group(laboratory.position(), batches, NOW)
        if found is not None:
            break
        assert await laboratory.database.read(dump) == before
    assert found is not None
    assert 10 < step < STEPS
    assert len(await laboratory.numbers()) == sum(one.accepted_count for one in found) + len(before["results"])


async def test_a_report_that_is_not_new_lets_the_batches_be_committed_one_by_one(laboratory: Laboratory) -> None:
    store = laboratory.stores.uploads
    await laboratory.send([make_tube(5), make_tube(9, site="另一采样点")], upload_id="other")
    position = laboratory.position()
    batches = [
        validate_batch([make_tube(number), make_tube(number + 1)], number - 4, dialect=laboratory.dialect)
        for number in (4, 6, 8)
    ]
    assert await store.commit_group(position, batches, NOW) is None
    assert await laboratory.numbers() == ["R5", "R9"]
    answers = [await store.commit_batch(position, batch, NOW) for batch in batches]
    assert [counts(one) for one in answers] == [(2, 1, 1, 0), (4, 2, 0, 0), (6, 1, 0, 1)]
    # Batches below the committed offset are replays. A group cannot answer them, but the commit of a single batch can.
    assert await store.commit_group(laboratory.position(), batches, NOW) is None


async def test_a_group_has_only_batches_that_follow_one_another_and_few_persons(
    sqlite: Laboratory,
) -> None:
    first, second, _ = make_batches(sqlite, 3, range(12))
    assert group.may_join([first], second)
    assert not group.may_join([second], second)
    assert not group.may_join([first], replace(second, known_tubes=[0]))
    assert not group.may_join([first], replace(second, results=()))
    assert not group.may_join([replace(first, results=list(first.results))], second)
    room = group.MOST_PERSONS // len(first.results)
    assert group.may_join([first] * (room - 1), second)
    assert not group.may_join([first] * room, second)
