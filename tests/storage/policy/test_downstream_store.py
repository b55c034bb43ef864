"""The policies that a node keeps of the nodes below, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.domain.errors import FailedPrecondition, Unavailable
from services.domain.instant import DAY, Instant
from services.policy.convert import bare_statement, revision_from_proto
from services.policy.copies import NodeLife
from services.policy.downstream.store import DownstreamStore, Progress, Stream
from services.policy.received import ReceivedRevision
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.serving.publisher import PolicyPublisher
from services.policy.serving.token_check import TokenCheck
from services.policy.store import PolicyStore
from services.policy.upstream.store import UpstreamPosition, UpstreamStore
from services.runtime.clock import FixedClock
from services.runtime.consistency import CommitPosition, LogPosition, encode_token
from services.storage.engine import Database, open_database
from tests.support.databases import MakeUrl
from tests.support.policy.publishers import START, make_request

NOW: Instant = START - DAY
HENAN, CITY = "410000", "410100"


@pytest.fixture
def database(database_url: MakeUrl) -> Iterator[Database]:
    database = open_database(database_url("policy"))
    yield database
    database.close()


def received(title: str = "made up", *, withdrawn: Instant | None = None) -> ReceivedRevision:
    """Return a revision of the city as it is sent."""
    statement = bare_statement(make_request("venue", CITY, title=title).policy)
    revision = replace(revision_from_proto(statement, 1, NOW - 1), node=CITY, withdraw_time=withdrawn)
    return ReceivedRevision(revision, statement)


async def test_a_node_goes_on_where_it_was_and_its_effects_happen_once(database: Database) -> None:
    """A repeated revision is no change; new content, a withdrawal and a later position are. Tokens are met then."""
    store, policies = DownstreamStore(database), PolicyStore(database)
    stream = await store.open_stream(HENAN)
    assert stream == Stream(HENAN, 1, "", 0, [], stream.life)
    progress = Progress("c7", {HENAN: 7, CITY: 5}, {(CITY, "a"): 1})
    for _ in range(2):
        assert await store.receive(stream, [received()], progress, NOW) == []
    assert (await policies.read_changes(0)).revisions == [(1, received().revision)]
    assert await store.receive(stream, [received("anew")], None, NOW) == []
    assert await store.receive(stream, [received("anew", withdrawn=NOW)], None, NOW) == []
    assert (await policies.read_changes(0)).revisions == [(3, received("anew", withdrawn=NOW).revision)]

    cache = PolicyBookCache(policies, FixedClock(NOW))
    await cache.refresh()
    assert cache.nodes_below == {HENAN: 7, CITY: 5}
    check = TokenCheck(cache, "000000")
    await check.require(encode_token(CommitPosition("policy", CITY, LogPosition("a", 0, 1))))
    with pytest.raises(Unavailable):
        await check.require(encode_token(CommitPosition("policy", HENAN, LogPosition("a", 0, 1))))

    again = await store.open_stream(HENAN)
    assert again == Stream(HENAN, 2, "c7", 3, [CITY], stream.life)
    with pytest.raises(Unavailable) as caught:
        await store.receive(stream, [received("late")], None, NOW)
    assert caught.value.reason == "STREAM_REPLACED"
    assert await policies.newest_sequence() == 3


async def test_a_stream_ends_with_the_life_of_the_database(database: Database) -> None:
    """A server that took over may lack revisions before the cursor. Another stream begins where they end."""
    store = DownstreamStore(database)
    stream = await store.open_stream(HENAN)
    with pytest.raises(Unavailable) as caught:
        await store.receive(stream._replace(life="before the failover"), [received()], None, NOW)
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    assert await PolicyStore(database).newest_sequence() == 0
    assert await store.receive(stream, [received()], None, NOW) == []


class StoreOfAnotherProcess(PolicyStore):
    """A store in which another process receives a change between two reads of one refresh."""

    def __init__(self, database: Database, receiving: DownstreamStore, stream: Stream) -> None:
        super().__init__(database)
        self._receiving = receiving
        self._stream = stream

    async def read_lives_below(self) -> dict[NodeLife, int]:
        await self._receiving.receive(self._stream, [received()], Progress("c2", {}, {(HENAN, "a"): 1}), NOW)
        return await super().read_lives_below()


async def test_a_position_counts_only_with_its_change(database: Database) -> None:
    """Another process may store both while this process refreshes its book."""
    store = DownstreamStore(database)
    stream = await store.open_stream(HENAN)
    cache = PolicyBookCache(StoreOfAnotherProcess(database, store, stream), FixedClock(NOW))
    await store.receive(stream, [], Progress("c1", {HENAN: 1}, {}), NOW)
    cache.as_of = NOW
    await cache.refresh()
    assert cache.other_lives == {(HENAN, "a"): 1}
    assert [revision for _, revision in cache.changes_after(0)] == [received().revision]


async def test_a_node_below_another_one_is_sent_there(database: Database) -> None:
    """A city that was connected before its province goes on, until it connects again."""
    store = DownstreamStore(database)
    before = await store.open_stream(CITY)
    henan = await store.open_stream(HENAN)
    assert henan.nodes == [CITY]
    assert await store.receive(before, [received()], Progress("c1", {CITY: 1}, {}), NOW) == []
    with pytest.raises(FailedPrecondition) as caught:
        await store.open_stream(CITY)
    assert (caught.value.reason, caught.value.metadata) == ("NOT_AN_UPSTREAM", {"node": f"nodes/{HENAN}"})
    assert await store.receive(henan, [received()], Progress("c1", {HENAN: 2}, {}), NOW) == []


async def test_a_founded_node_knows_the_nodes_in_its_region(database: Database) -> None:
    """The node above names the nodes, even before they have called. All processes remember a founding."""
    store = UpstreamStore(database, HENAN)
    assert not await store.is_founded()
    await store.receive([], UpstreamPosition("1-1", NOW), NOW)
    assert not await store.is_founded()
    await store.record_founded([CITY], NOW)
    await store.receive([], UpstreamPosition("2-2", NOW), NOW)
    assert await store.is_founded()
    policies, clock = PolicyStore(database), FixedClock(NOW)
    publisher = PolicyPublisher(policies, PolicyBookCache(policies, clock, is_province=True), HENAN, clock)
    with pytest.raises(FailedPrecondition) as caught:
        await publisher.publish(make_request("venue", CITY))
    assert caught.value.reason == "ANOTHER_NODE_PUBLISHES"
