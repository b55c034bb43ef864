"""Revisions with known numbers, which a node restored from an older copy sends to the nation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.domain.instant import SECOND
from services.domain.region import NATION
from services.results.exchange.apply import Applied, Arrival
from services.results.exchange.downstream.notifications.subscriptions import read_subscribed
from services.results.exchange.model import Replica
from services.results.records.model import ACTIVE, RECALLED, SUPERSEDED
from tests.support.databases import MakeUrl
from tests.support.results.country import JILIN
from tests.support.results.factories import NEGATIVE, NOW, POSITIVE, make_tube, subject_key
from tests.support.results.store import Laboratory, open_laboratory


@pytest.fixture
async def nation(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """The nation's store, with the report R0 of Jilin."""
    async with open_laboratory(database_url("results")) as opened:
        await opened.send([make_tube(0)])
        yield opened


async def newest(nation: Laboratory) -> Replica:
    """Return the newest revision of the report."""
    ((_, (replica,)),) = await nation.database.read(read_subscribed, JILIN, [[subject_key(0)]])
    return replica


async def tell(nation: Laboratory, *replicas: Replica) -> Applied:
    """Apply revisions that Jilin sends."""
    return await nation.database.write(nation.stores.applier.apply, replicas, Arrival(NATION, JILIN, NOW + SECOND))


async def test_a_revision_sent_later_with_other_content_is_the_next_revision_once(nation: Laboratory) -> None:
    """The revisions may come one by one or together, and repeatedly."""
    first = await newest(nation)
    other = first._replace(
        result=first.result._replace(outcome=POSITIVE, upload_time=NOW + 1), content_hash=b"other".ljust(16)
    )
    recalled = other._replace(result=other.result._replace(revision=2, state=RECALLED, upload_time=NOW + 2))
    assert (await tell(nation, other)).conflict_count == 1
    assert (await newest(nation)).content_hash == other.content_hash
    assert (await tell(nation, recalled, other)).conflict_count == 1
    assert (await tell(nation, first, other, recalled)).conflict_count == 0
    assert await nation.rows("revision", "state", "outcome") == [
        (1, SUPERSEDED, NEGATIVE),
        (2, SUPERSEDED, POSITIVE),
        (3, RECALLED, POSITIVE),
    ]


async def test_what_was_said_before_what_stands_is_counted_alone(nation: Laboratory) -> None:
    """A later revision of another writer arrives first."""
    first = await newest(nation)
    recalled = first._replace(result=first.result._replace(revision=2, state=RECALLED, upload_time=NOW + 2))
    other = first._replace(result=first.result._replace(state=ACTIVE, outcome=POSITIVE, upload_time=NOW + 1))
    assert (await tell(nation, recalled)).conflict_count == 0
    assert (await tell(nation, other)).conflict_count == 1
    assert await nation.rows("revision", "state") == [(1, SUPERSEDED), (2, RECALLED)]
