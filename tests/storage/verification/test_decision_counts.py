"""Counts of decisions on SQLite and PostgreSQL: added up, summed, sent to the node above once, and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hutong.exchange.v1.replicated_decision_count_pb2 import ReplicatedDecisionCount
from hutong.type.v1 import purpose_pb2
from hutong.verification.v1 import decision_pb2
from hutong.verification.v1.decision_counts_pb2 import DecisionCounts
from sqlalchemy import select

from services.domain.errors import InvalidArgument, Unavailable
from services.domain.instant import DAY, HOUR, Instant, to_timestamp
from services.runtime.clock import FixedClock
from services.runtime.ids import uuid7
from services.storage.engine import Database, open_database
from services.verification.decision_counts.counter import DecisionCounter
from services.verification.decision_counts.model import CountKey, OutcomeCounts
from services.verification.decision_counts.outbox import HourCount, mark_sent, merge_counts, read_unsent, reopen_hour
from services.verification.decision_counts.recorder import DecisionCountRecorder
from services.verification.decision_counts.store import add_counts, first_hour
from services.verification.idempotency import requests
from services.verification.refusal_exchange.counts import COUNTS_BATCH, receive_counts
from services.verification.refusals.routing import Links
from services.verification.retention import Purge, RetentionAges, purge_verification
from tests.support.databases import MakeUrl
from tests.support.verification.decided import sum_decided
from tests.support.verification.story import Story

NATION, HENAN, ZHENGZHOU, PLACE, ELSEWHERE = "000000", "410000", "410100", "410105", "220502"
NOON: Instant = 1_660_190_400_000_000
"""2022-08-11T12:00:00+08:00."""
HOUR_OF_NOON = NOON // HOUR
HOTEL, SCHOOL = int(purpose_pb2.PURPOSE_HOTEL), int(purpose_pb2.PURPOSE_SCHOOL)
RECOGNIZED = int(decision_pb2.DECISION_OUTCOME_RECOGNIZED)
UNDETERMINED = int(decision_pb2.DECISION_OUTCOME_UNDETERMINED)


@pytest.fixture
def database(database_url: MakeUrl) -> Iterator[Database]:
    """A fresh database of the service."""
    database = open_database(database_url("verification"))
    yield database
    database.close()


def _count(hours: int = 0, region: str = PLACE, purpose: int = HOTEL, recognized: int = 1) -> HourCount:
    """Return a count that Zhengzhou states."""
    return HourCount(HOUR_OF_NOON + hours, region, purpose, ZHENGZHOU, OutcomeCounts(recognized))


async def _add(database: Database, own: str, *keys: tuple[int, str, int, int, int]) -> None:
    """Store counts: hours after noon, place, purpose, outcome and number."""
    counts = {CountKey(HOUR_OF_NOON + hours, *rest): count for hours, *rest, count in keys}  # type: ignore[arg-type]
    await database.write(add_counts, own, counts)


async def test_counts_of_several_writes_and_nodes_add_up(database: Database) -> None:
    """A further write adds to the hour. Sums are of a region and of whole hours."""
    await _add(database, HENAN, (0, PLACE, HOTEL, RECOGNIZED, 2), (0, PLACE, HOTEL, UNDETERMINED, 1))
    await _add(database, HENAN, (0, PLACE, HOTEL, RECOGNIZED, 5), (12, PLACE, SCHOOL, RECOGNIZED, 3))
    await _add(database, NATION, (0, PLACE, HOTEL, RECOGNIZED, 10), (0, ELSEWHERE, HOTEL, RECOGNIZED, 100))
    hours = await database.read(sum_decided, "hour", NOON + HOUR // 2, NOON + DAY, HENAN)
    assert hours == {HOUR_OF_NOON: OutcomeCounts(17, 0, 0, 1), HOUR_OF_NOON + 12: OutcomeCounts(3)}
    whole = await database.read(sum_decided, "purpose", NOON, NOON + HOUR)
    assert whole == {HOTEL: OutcomeCounts(117, 0, 0, 1)}
    assert await database.read(first_hour) == NOON


async def test_writers_of_two_processes_lose_nothing(database: Database) -> None:
    """Workers add to the same rows at the same time."""
    keys = [(0, region, purpose, RECOGNIZED, 1) for region in (PLACE, ELSEWHERE) for purpose in (HOTEL, SCHOOL)]
    await asyncio.gather(*(_add(database, NATION, *(keys if turn % 2 else keys[::-1])) for turn in range(20)))
    found = await database.read(sum_decided, "region", NOON, NOON + HOUR)
    assert {region: counts.total for region, counts in found.items()} == {PLACE: 40, ELSEWHERE: 40}


async def test_a_row_is_sent_until_the_version_that_was_read_is_acknowledged(database: Database) -> None:
    """Only counts of places inside the node are sent. A count that changes while a frame is under way is sent again."""
    for _ in range(2):
        await _add(database, HENAN, (0, ELSEWHERE, HOTEL, RECOGNIZED, 1))
    await _add(database, HENAN, (0, PLACE, HOTEL, RECOGNIZED, 1))
    sent = await database.read(read_unsent, 10)
    assert [(one.region, one.node, one.counts) for one in sent] == [(PLACE, HENAN, OutcomeCounts(1))]
    await _add(database, HENAN, (0, PLACE, HOTEL, RECOGNIZED, 1))
    await database.write(mark_sent, sent)
    again = await database.read(read_unsent, 10)
    assert [one.counts for one in again] == [OutcomeCounts(2)]
    await database.write(mark_sent, again)
    assert await database.read(read_unsent, 10) == []
    await _add(database, HENAN, (2, PLACE, HOTEL, RECOGNIZED, 1))
    await database.write(mark_sent, await database.read(read_unsent, 10))
    next_hour: int = 0
    opened: list[int] = []
    while (reopened := await database.write(reopen_hour, next_hour)) is not None:
        next_hour = reopened
        opened += [one.hour for one in await database.read(read_unsent, 10)]
    assert opened == [HOUR_OF_NOON, HOUR_OF_NOON, HOUR_OF_NOON + 2]


async def test_the_greater_count_holds_however_often_it_comes(database: Database) -> None:
    """A message that comes twice or late changes nothing, so that it is not passed on again either."""
    for recognized in (3, 5, 4, 5):
        await database.write(merge_counts, [_count(recognized=recognized)])
    (stored,) = await database.read(read_unsent, 10)
    assert (stored.counts, stored.version) == (OutcomeCounts(5), 2)


async def test_a_node_states_only_what_is_its_own(database: Database) -> None:
    """Counts of other nodes and places, faulty ones, and those of the node above are set aside."""

    def message(
        node: str = ZHENGZHOU, region: str = PLACE, at: Instant = NOON, **fields: object
    ) -> ReplicatedDecisionCount:
        values = {"purpose": HOTEL, "counts": DecisionCounts(recognized_count=1)} | fields
        return ReplicatedDecisionCount(
            node=f"nodes/{node}",
            region=region,
            hour_start_time=to_timestamp(at),
            **values,  # type: ignore[arg-type]
        )

    async def receive(messages: Sequence[ReplicatedDecisionCount], sender: str) -> int:
        links = Links(HENAN, NATION, {ZHENGZHOU}, has_upstream=True)
        await database.write(receive_counts, messages, sender, links, NOON)
        return len(await database.read(read_unsent, 100))

    foreign = [
        message(node=HENAN),
        message(region=ELSEWHERE),
        message(region="419999"),
        message(at=NOON + 1),
        message(at=NOON + 2 * DAY),
        message(purpose=99),
        message(counts=DecisionCounts(recognized_count=-1)),
        message(counts=None),
    ]
    assert await receive(foreign, ZHENGZHOU) == 0
    assert await receive([message()], NATION) == 0
    assert await receive([*foreign, message()], ZHENGZHOU) == 1
    with pytest.raises(InvalidArgument) as caught:
        await receive([message()] * (COUNTS_BATCH + 1), ZHENGZHOU)
    assert caught.value.violations[0].reason == "BATCH_TOO_LARGE"


async def test_counts_wait_for_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database cannot be reached, a process keeps its counts, and counts on."""
    counter = DecisionCounter()
    recorder = DecisionCountRecorder(database, counter, NATION, FixedClock(NOON))
    write = database.write

    async def fail(*_: object) -> None:
        raise Unavailable("DATABASE_UNAVAILABLE", "away")  # type: ignore[arg-type]

    counter.count(PLACE, HOTEL, RECOGNIZED, NOON)
    monkeypatch.setattr(database, "write", fail)
    await recorder.store()
    counter.count(PLACE, HOTEL, RECOGNIZED, NOON + HOUR - 1)
    monkeypatch.setattr(database, "write", write)
    await recorder.store()
    await recorder.store()
    (stored,) = await database.read(read_unsent, 10)
    assert (stored.counts, stored.version) == (OutcomeCounts(2), 2)


async def test_a_write_whose_commit_is_unknown_counts_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised after the commit, so the batch is written again. One id of a batch stays in the database."""
    counter = DecisionCounter()
    recorder = DecisionCountRecorder(database, counter, NATION, FixedClock(NOON))
    write = database.write

    async def fail_afterwards(*args: Any) -> None:
        await write(*args)
        raise Unavailable("DATABASE_UNAVAILABLE", "away")  # type: ignore[arg-type]

    for _ in range(2):
        counter.count(PLACE, HOTEL, RECOGNIZED, NOON)
        monkeypatch.setattr(database, "write", fail_afterwards)
        await recorder.store()
        monkeypatch.setattr(database, "write", write)
        counter.count(PLACE, HOTEL, RECOGNIZED, NOON)
        await recorder.store()
    (stored,) = await database.read(read_unsent, 10)
    assert stored.counts == OutcomeCounts(4)
    assert len(await database.read(lambda connection: connection.execute(select(requests)).all())) == 1


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_cancelled_write_counts_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    """A stop cancels the background job, then stores the counts once more.

    A write that has begun may still be committed.
    """
    counter = DecisionCounter()
    recorder = DecisionCountRecorder(database, counter, NATION, FixedClock(NOON))
    write, has_begun = database.write, asyncio.Event()

    async def hang(*args: Any) -> None:
        if is_committed:
            await write(*args)
        has_begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(database, "write", hang)
    counter.count(PLACE, HOTEL, RECOGNIZED, NOON)
    job = asyncio.ensure_future(recorder.store())
    await has_begun.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    counter.count(PLACE, HOTEL, RECOGNIZED, NOON)
    monkeypatch.setattr(database, "write", write)
    await recorder.store()
    (stored,) = await database.read(read_unsent, 10)
    assert stored.counts == OutcomeCounts(2)


async def test_a_decision_is_counted_once_it_is_stored(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a decision cannot be stored, the answer to its question fails, and the decision is not counted."""
    story = Story(database, {})
    write = database.write

    async def fail(*_: object) -> None:
        raise Unavailable("DATABASE_UNAVAILABLE", "away")  # type: ignore[arg-type]

    refused = {"at": "2022-08-11 12:00", "by": "48h", "verify": "stored", "expect": "NO_RESULT", "kept": True}
    unasked = {"at": "2022-08-11 12:00", "by": "none", "verify": "unasked", "expect": "NO_TEST_REQUIRED", "kept": False}
    monkeypatch.setattr(database, "write", fail)
    with pytest.raises(Unavailable):
        await story.run(refused)
    assert story.counter.take() == {}
    await story.run(unasked)
    monkeypatch.setattr(database, "write", write)
    await story.run(refused)
    assert sorted(story.counter.take().values()) == [1, 1]


async def test_a_purge_removes_old_hours(database: Database) -> None:
    """Counts of hours that are older than their age go, and the others stay."""
    await _add(database, NATION, *((-hours, PLACE, HOTEL, RECOGNIZED, 1) for hours in (0, 23, 24, 25, 48)))
    ages = RetentionAges(*[1000 * DAY] * 5, DAY)
    assert purge_verification(database, ages, Purge(0, NOON, uuid7())).decision_counts == 2
    assert await database.read(first_hour) == NOON - DAY
