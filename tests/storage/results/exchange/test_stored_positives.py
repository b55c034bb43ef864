"""A province with stored positives when its first city joins: the city is told of each, whichever comes first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, select

from services.domain.names import DEFAULT_ITEM
from services.domain.subject import Pepper
from services.results.exchange.arrival import Arrival
from services.results.exchange.downstream.nodes import add_node
from services.results.exchange.downstream.notifications.notifications import read_notifications
from services.results.exchange.downstream.notifications.stored_positives import StoredPositives, mark_step, read_step
from services.results.exchange.model import AdverseSubject, Replica
from services.results.exchange.tables import marking_positions, subscriptions
from services.results.records.model import ACTIVE, StoredResult
from services.results.stores import Stores
from services.results.timing import ResultsTiming
from services.runtime.clock import FixedClock
from services.storage.engine import Database, open_database
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN, ZHENGZHOU
from tests.support.results.factories import (
    NEGATIVE,
    NOW,
    OTHER_USCC,
    PEPPER,
    POSITIVE,
    REPORTED,
    USCC,
    subject_key,
)
from tests.support.results.store import commit_first

STORED = range(7)
"""Persons with a positive in Henan before Zhengzhou joins."""


class Province:
    """Henan's store."""

    def __init__(self, database: Database, pepper: Pepper = PEPPER) -> None:
        clock = FixedClock(NOW)
        self.database = database
        self._stores = Stores(database, clock, pepper.secrets, HENAN, joined=True)
        self.positives = StoredPositives(database, clock, ResultsTiming(), HENAN, reports_at_once=3)

    async def receive(self, source: str, *replicas: Replica) -> None:
        """Store the results that a node sends."""
        await self._stores.partitions.prepare([one.result.reference_time for one in replicas])
        await self.database.write(self.apply, source, *replicas)

    def apply(self, connection: Connection, source: str, *replicas: Replica) -> None:
        """Store the results that a node sends, in a transaction of the caller."""
        self._stores.applier.apply(connection, replicas, Arrival(HENAN, source, NOW))

    async def found(self) -> None:
        """Let the city join."""
        await self.database.write(add_node, ZHENGZHOU, NOW, HENAN)

    async def mark_all(self) -> int:
        """Run the steps that are left and return how many they were."""
        count = 0
        while await self.positives.mark_next():
            count += 1
        return count

    async def named(self) -> list[bytes]:
        """Return the subjects that the city was told of, in ascending order."""
        found = await self.database.read(read_notifications, ZHENGZHOU, 0, HENAN)
        changes = [change for one in found for change in one.changes]
        return sorted(change.subject_key for change in changes if isinstance(change, AdverseSubject))

    async def marked(self) -> set[bytes]:
        """Return the subjects that are marked."""
        query = select(subscriptions.c.subject_key).where(subscriptions.c.node == HENAN)
        return set(await self.database.read(lambda connection: list(connection.execute(query).scalars())))


@pytest.fixture
async def province(database_url: MakeUrl) -> AsyncIterator[Province]:
    """Henan, which has positives, a negative, and a positive of an item that is named to no node."""
    async with open_province(database_url("results")) as opened:
        yield opened


@pytest.fixture
async def postgresql(postgres_url: MakeUrl) -> AsyncIterator[Province]:
    """The same on PostgreSQL: only a server has concurrent write transactions."""
    async with open_province(postgres_url("results")) as opened:
        yield opened


@contextlib.asynccontextmanager
async def open_province(url: str) -> AsyncIterator[Province]:
    database = open_database(url)
    try:
        opened = Province(database)
        stored = [report(JILIN, person, POSITIVE) for person in STORED]
        await opened.receive(JILIN, *stored, report(JILIN, 20), report(JILIN, 21, POSITIVE, "hepatitis-b"))
        assert not await opened.positives.mark_next()
        yield opened
    finally:
        database.close()


def report(source: str, person: int, outcome: int = NEGATIVE, item: str = DEFAULT_ITEM) -> Replica:
    lab = {JILIN: USCC, ZHENGZHOU: OTHER_USCC}[source]
    result = StoredResult(
        *(subject_key(person), REPORTED, lab, f"{source}-{person}", 1, ACTIVE, "", "", "T", 1, 2, 1),
        *(outcome, source, "", REPORTED, None, None, REPORTED, item, NOW, None, source),
    )
    return Replica(result, 1, f"{source}{person}".encode().ljust(16), b"")


@pytest.mark.parametrize("steps_before", [0, 2, 9])
async def test_each_stored_positive_is_named_once(province: Province, steps_before: int) -> None:
    """The city's results come before, between or after the steps, of which another process takes over the rest."""
    await province.found()
    for _ in range(steps_before):
        await province.positives.mark_next()
    await province.receive(ZHENGZHOU, *(report(ZHENGZHOU, person) for person in (*STORED, 20, 21, 22)))
    # A process that has read a step before another one did it changes nothing.
    read = await province.database.read(read_step, 3)
    left = await Province(province.database).mark_all()
    if read is not None:
        await province.database.write(mark_step, read, NOW, HENAN)
    assert (left > 1) is (steps_before < 9)
    assert await province.named() == sorted(map(subject_key, STORED))
    assert await province.marked() == set(map(subject_key, STORED))
    assert await province.database.read(lambda connection: connection.execute(select(marking_positions)).all()) == []
    # A second city begins no second marking.
    await province.database.write(add_node, "410200", NOW, HENAN)
    assert not await province.positives.mark_next()


async def test_a_positive_that_comes_between_the_steps_is_marked_by_its_commit(province: Province) -> None:
    await province.found()
    await province.positives.mark_next()
    await province.receive(ZHENGZHOU, report(ZHENGZHOU, 6), report(ZHENGZHOU, 20))
    await province.receive(JILIN, report(JILIN, 30, POSITIVE))
    await province.receive(ZHENGZHOU, report(ZHENGZHOU, 30))
    assert await province.named() == [subject_key(30)]
    await province.mark_all()
    assert await province.named() == sorted(map(subject_key, (6, 30)))


async def test_the_job_marks_once_a_node_has_joined_and_ends(province: Province) -> None:
    timing = ResultsTiming(marking_poll=0.01, marking_pause=0.0)
    job = asyncio.ensure_future(StoredPositives(province.database, FixedClock(NOW), timing, HENAN).run())
    await province.found()
    await job
    assert await province.marked() == set(map(subject_key, STORED))


async def test_a_step_waits_for_a_commit_that_looked_for_marks_before(postgresql: Province) -> None:
    """The commit brings the city's first result of a stored positive. It has seen no mark when the step begins."""
    province = postgresql
    await province.found()

    def commit(connection: Connection) -> None:
        province.apply(connection, ZHENGZHOU, report(ZHENGZHOU, 0))

    await commit_first(province.database, commit, province.mark_all())
    assert await province.named() == [subject_key(0)]
