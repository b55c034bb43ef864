"""Tokens of publications, in processes whose clocks differ by minutes, and after a restore."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.domain.errors import Unavailable
from services.domain.instant import DAY, MINUTE
from services.policy.convert import bare_statement, revision_from_proto
from services.policy.received import ReceivedRevision
from services.policy.serving.book_cache import UNKNOWN_EXTENT, PolicyBookCache
from services.policy.serving.publisher import PolicyPublisher
from services.policy.serving.token_check import TokenCheck
from services.policy.store import PolicyStore
from services.policy.upstream.store import UpstreamPosition, UpstreamStore
from services.runtime.clock import FixedClock
from services.runtime.consistency import CommitPosition, LogPosition, encode_token
from services.storage.engine import Database, open_database
from tests.support.databases import MakeUrl
from tests.support.policy.publishers import START, make_request
from tests.support.restored import Copy

REGION = "410000"
NOW = START - DAY


@pytest.fixture
def database(database_url: MakeUrl) -> Iterator[Database]:
    database = open_database(database_url("policy"))
    yield database
    database.close()


def process(database: Database, ahead: int = 0) -> tuple[PolicyPublisher, TokenCheck, PolicyBookCache]:
    """A process on a database, with a clock of its own."""
    store, clock = PolicyStore(database), FixedClock(NOW + ahead)
    cache = PolicyBookCache(store, clock)
    return PolicyPublisher(store, cache, REGION, clock), TokenCheck(cache, REGION), cache


async def is_lost(check: TokenCheck, token: str) -> bool | None:
    """Return None if a token is met, otherwise whether it is lost."""
    try:
        await check.require(token)
    except Unavailable as error:
        return error.metadata.get("lost") == "true"
    return None


@pytest.mark.parametrize("ahead", [-4 * MINUTE, 4 * MINUTE])
async def test_another_process_meets_the_token_whatever_the_clocks_say(database: Database, ahead: int) -> None:
    """The other process has not polled since the publication. A repeat of the request returns the same token."""
    publisher, _, _ = process(database, ahead)
    _, check, cache = process(database)
    await cache.refresh()
    request = make_request("one", REGION, request_id="01890000-0000-4000-8000-000000000001")
    token = (await publisher.publish(request)).consistency_token
    assert await is_lost(check, token) is None
    assert (await publisher.publish(request)).consistency_token == token
    other = encode_token(CommitPosition("policy", REGION, LogPosition("a", 0, 1)))
    later = encode_token(CommitPosition("policy", REGION, LogPosition("a", 0, 2)))
    elsewhere = encode_token(CommitPosition("policy", "220000", LogPosition("a", 0, 1)))
    assert [await is_lost(check, one) for one in (other, later, elsewhere)] == [True] * 3


async def test_a_publication_that_a_restore_lost_is_never_met(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """The sequence of the lost publication now belongs to another publication."""
    url = sqlite_url("policy")
    database = open_database(url)
    copy = Copy(url, tmp_path / "copy")
    token = (await process(database)[0].publish(make_request("one", REGION))).consistency_token
    database.close()
    copy.restore()
    database = open_database(url)
    publisher, check, _ = process(database)
    assert await is_lost(check, token)
    again = (await publisher.publish(make_request("two", REGION))).consistency_token
    assert [await is_lost(check, one) for one in (token, again)] == [True, None]
    database.close()


async def test_what_a_killed_process_received_is_known_up_to_nothing(database: Database) -> None:
    """The process had stored a part of what the nation sent, but no checkpoint. The next checkpoint states more."""
    store = UpstreamStore(database, "410000")
    statement = bare_statement(make_request("part", "000000").policy)
    await store.receive([ReceivedRevision(revision_from_proto(statement, 1, NOW, ""), statement)], None, NOW)
    cache = PolicyBookCache(PolicyStore(database), FixedClock(NOW), is_province=True)
    await cache.refresh()
    assert cache.nation_as_of == UNKNOWN_EXTENT
    await cache.refresh(NOW)
    assert cache.nation_as_of == NOW
    nation = PolicyBookCache(PolicyStore(database), FixedClock(NOW))
    await nation.refresh()
    assert nation.nation_as_of is None


async def test_the_nations_tokens_are_met_by_what_was_received(database: Database) -> None:
    """A later life of the nation is known, so nothing more of the earlier one comes. A restart keeps all of it."""
    store = UpstreamStore(database, "410000")
    lives = {("000000", "a"): 2, ("000000", "b"): 3, ("410000", "d"): 9}
    await store.receive([], UpstreamPosition("3-1", NOW, lives), NOW)
    await store.receive([], UpstreamPosition("3-1", NOW, {("000000", "a"): 1}), NOW)
    position = await store.read_position()
    assert position is not None
    assert position.lives == lives
    _, check, cache = process(database)
    await cache.refresh(position.as_of_time, position.lives)
    tokens = [
        encode_token(CommitPosition("policy", "000000", LogPosition(life, 0, sequence)))
        for life, sequence in (("a", 2), ("b", 3), ("a", 3), ("b", 4), ("c", 1))
    ]
    assert [await is_lost(check, token) for token in tokens] == [None, None, True, False, False]
