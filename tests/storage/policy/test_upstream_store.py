"""The copies that a province keeps of the nation's policies, on SQLite and on PostgreSQL.

Several stores stand for processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from services.domain.instant import DAY, MINUTE, Instant
from services.policy.changes import Changes
from services.policy.convert import bare_statement, revision_from_proto
from services.policy.received import ReceivedRevision
from services.policy.store import PolicyStore
from services.policy.upstream.store import UpstreamPosition, UpstreamStore
from services.storage.engine import Database, open_database
from tests.support.databases import MakeUrl
from tests.support.policy.publishers import START, make_request

NOW: Instant = START - DAY
AT_THE_NATION: Instant = NOW - MINUTE
"""When the nation published: what is known here of a policy is what the nation said, not when it came."""
STORES = 4


@pytest.fixture
async def databases(database_url: MakeUrl) -> AsyncIterator[list[Database]]:
    """Several connections to one database, one for each process of the province."""
    url = database_url("policy")
    databases = [open_database(url) for _ in range(STORES)]
    yield databases
    for database in databases:
        database.close()


@pytest.fixture
def stores(databases: list[Database]) -> list[UpstreamStore]:
    """Several stores, one for each process of the province."""
    return [UpstreamStore(database, "410000") for database in databases]


@pytest.fixture
def store(stores: list[UpstreamStore]) -> UpstreamStore:
    """One of the stores."""
    return stores[0]


@pytest.fixture
def policies(databases: list[Database]) -> PolicyStore:
    """The policies that it keeps, and their changes."""
    return PolicyStore(databases[0])


def received(policy_id: str = "venue", number: int = 1, **fields: object) -> ReceivedRevision:
    """Return a revision of the nation as it is sent."""
    statement = bare_statement(make_request(policy_id, "000000", **fields).policy)  # type: ignore[arg-type]
    return ReceivedRevision(revision_from_proto(statement, number, AT_THE_NATION), statement)


def withdrawn(one: ReceivedRevision) -> ReceivedRevision:
    """The same, withdrawn at the nation."""
    gone = replace(one.revision, withdraw_time=AT_THE_NATION + 1, withdraw_reason="an error")
    return one._replace(revision=gone)


async def test_a_revision_is_kept_as_it_stands_at_the_nation_with_the_position(
    store: UpstreamStore, policies: PolicyStore
) -> None:
    """Number, publication, hash and withdrawal of the revision are the nation's.

    Only the change belongs to this log.
    """
    first, second = received(number=7), withdrawn(received("hotel"))
    assert await store.read_position() is None
    assert await store.receive([first, second], UpstreamPosition("9-8", AT_THE_NATION), NOW) == []
    changes = await policies.read_changes(0)
    assert changes == Changes(2, [(1, first.revision), (2, second.revision)], {1: NOW, 2: NOW})
    assert await store.read_position() == UpstreamPosition("9-8", AT_THE_NATION)


async def test_repeated_changes_change_nothing_but_the_position(store: UpstreamStore, policies: PolicyStore) -> None:
    """Repeated changes and withdrawals come with snapshots, and after a crash before the position was stored."""
    told = [received(), withdrawn(received("hotel"))]
    for position in (UpstreamPosition("1-1", 1), UpstreamPosition("2-2", 2)):
        assert await store.receive(told, position, NOW) == []
        assert await policies.newest_sequence() == 2
        assert await store.read_position() == position


async def test_a_withdrawal_that_comes_later_is_a_change(store: UpstreamStore, policies: PolicyStore) -> None:
    """The revision gets a sequence of this node, so that its watchers receive it."""
    await store.receive([received()], UpstreamPosition("1-1", 1), NOW)
    gone = withdrawn(received())
    await store.receive([gone], UpstreamPosition("2-2", 2), NOW + DAY)
    assert (await policies.read_changes(1)).revisions == [(2, gone.revision)]


async def test_another_content_of_a_known_revision_leaves_it_and_the_position_is_to_begin_again(
    store: UpstreamStore, policies: PolicyStore
) -> None:
    """What came with the changed revision is kept.

    The position has no cursor, so the next process finds the difference too.
    """
    known, other = received(), received("hotel")
    await store.receive([known], UpstreamPosition("1-1", 1), NOW)
    told = [received(title="another"), other]
    assert await store.receive(told, UpstreamPosition("3-3", 3), NOW) == [known.revision.name]
    assert [revision for _, revision in (await policies.read_changes(0)).revisions] == [known.revision, other.revision]
    assert await store.read_position() == UpstreamPosition("", 3)


async def test_a_withdrawal_is_not_taken_back(store: UpstreamStore, policies: PolicyStore) -> None:
    """A nation restored from an earlier state sends the revision as in force, and that is a difference."""
    gone = withdrawn(received())
    await store.receive([gone], UpstreamPosition("2-2", 2), NOW)
    assert await store.receive([received()], UpstreamPosition("1-1", 3), NOW) == [gone.revision.name]
    assert (await policies.read_changes(0)).revisions == [(1, gone.revision)]


async def test_revisions_without_their_position_are_not_kept(store: UpstreamStore, policies: PolicyStore) -> None:
    """Revisions and position are stored in one transaction. If its last step fails, nothing is stored."""
    with pytest.raises(IntegrityError):
        await store.receive([received()], UpstreamPosition(None, 1), NOW)  # type: ignore[arg-type]
    assert await policies.newest_sequence() == 0


async def test_processes_that_receive_the_same_at_once_store_it_once(
    stores: list[UpstreamStore], policies: PolicyStore
) -> None:
    """Round after round, positions among them; each revision is one change, and no position is in another's way."""
    for round_ in range(1, 11):
        told = [received(f"policy-{round_}"), received("venue", round_)]
        position = UpstreamPosition(f"{round_}-1", round_)
        answers = await asyncio.gather(*(store.receive(told, position, NOW) for store in stores))
        answers += await asyncio.gather(*(store.receive([], position, NOW) for store in stores))
        assert answers == [[]] * STORES * 2
        assert await policies.newest_sequence() == 2 * round_
        assert await stores[0].read_position() == position
