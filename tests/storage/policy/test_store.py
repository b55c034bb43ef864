"""What every store of policies must do, on SQLite and on PostgreSQL; several stores stand for several processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from hutong.policy.v1.policy_admin_service_pb2 import (
    PublishPolicyRequest,
    PublishPolicyResponse,
    WithdrawPolicyRequest,
    WithdrawPolicyResponse,
)
from sqlalchemy import Connection, delete, insert, select

from services.domain.errors import FailedPrecondition, HutongError, InvalidArgument
from services.domain.instant import DAY, Instant, to_timestamp
from services.policy import tables
from services.policy.changes import (
    Changes,
    change_row,
    insert_revision,
    policy_row,
    read_changes,
    write_withdrawal,
)
from services.policy.convert import bare_statement, revision_from_proto, revision_to_proto
from services.policy.model import Revision
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.serving.publisher import PolicyPublisher
from services.policy.store import PolicyStore
from services.runtime.clock import FixedClock
from services.storage.engine import Database, open_database
from services.storage.life import current_life
from tests.support.databases import MakeUrl
from tests.support.policy import record
from tests.support.policy.publishers import START, make_request, start_holder, start_publisher

NOW: Instant = START - DAY
A_REQUEST_ID = "01890000-0000-4000-8000-000000000001"
STORES = 4


@pytest.fixture
def url(database_url: MakeUrl) -> str:
    """A fresh database of the service."""
    return database_url("policy")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """One connection to it."""
    database = open_database(url)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> PolicyStore:
    """A store on it."""
    return PolicyStore(database)


@pytest.fixture
async def publishers(url: str) -> AsyncIterator[list[PolicyPublisher]]:
    """Publishers of several processes, each with its own connections and its own cache."""
    databases = [open_database(url) for _ in range(STORES)]
    stores = [PolicyStore(database) for database in databases]
    yield [
        PolicyPublisher(store, PolicyBookCache(store, FixedClock(NOW)), "000000", FixedClock(NOW)) for store in stores
    ]
    for database in databases:
        database.close()


async def publish(store: PolicyStore, request: PublishPolicyRequest, number: int = 1, now: Instant = NOW) -> Revision:
    """Store a publication whatever stands already."""
    statement = bare_statement(request.policy)
    revision = revision_from_proto(statement, number, now, request.retroactive_reason)

    def insert_it(connection: Connection) -> PublishPolicyResponse:
        insert_revision(connection, revision, statement, now)
        return PublishPolicyResponse(policy=revision_to_proto(revision))

    await store.change_once(request, insert_it, PublishPolicyResponse, now)
    return revision


async def withdraw(store: PolicyStore, revision: Revision, reason: str = "an error") -> WithdrawPolicyResponse:
    """Withdraw a revision a day later."""
    now = NOW + DAY
    withdrawn = replace(revision, withdraw_time=now, withdraw_reason=reason)

    def withdraw_it(connection: Connection) -> WithdrawPolicyResponse:
        write_withdrawal(connection, withdrawn, now)
        return WithdrawPolicyResponse(policy=revision_to_proto(withdrawn))

    request = WithdrawPolicyRequest(name=revision.name, reason=reason)
    return await store.change_once(request, withdraw_it, WithdrawPolicyResponse, now)


async def test_revisions_come_back_as_they_were(store: PolicyStore) -> None:
    """Every field of every sample: floors, Chinese titles, ends, advice, calendar days; in the order of publication."""
    published = []
    numbers: dict[str, int] = {}
    for request in record.publications():
        numbers[request.policy.name] = numbers.get(request.policy.name, 0) + 1
        published.append(await publish(store, request, numbers[request.policy.name]))
    changes = await store.read_changes(0)
    assert [revision for _, revision in changes.revisions] == published
    assert [sequence for sequence, _ in changes.revisions] == list(range(1, len(published) + 1))
    assert changes.sequence == await store.newest_sequence() == len(published)


async def test_an_empty_database_has_no_changes(store: PolicyStore) -> None:
    """Sequence 0, no change; and after the newest sequence nothing either."""
    assert await store.read_changes(0) == Changes(0, [])
    await publish(store, make_request())
    assert await store.read_changes(1) == Changes(1, [])


async def test_withdrawal_is_one_change_under_its_own_sequence(store: PolicyStore) -> None:
    """The revision as it stands now, after what was published meanwhile; its statement and hash are untouched."""
    first = await publish(store, make_request("one"))
    second = await publish(store, make_request("two"))
    response = await withdraw(store, first)
    assert response.policy.withdraw_reason == "an error"
    changes = await store.read_changes(0)
    gone = replace(first, withdraw_time=NOW + DAY, withdraw_reason="an error")
    assert changes == Changes(3, [(2, second), (3, gone)], {1: NOW, 2: NOW, 3: NOW + DAY})
    assert (await store.read_changes(2)).revisions == [(3, gone)]


async def test_refused_publication_leaves_nothing(store: PolicyStore) -> None:
    """A refused publication leaves neither a row nor a sequence.

    Its request id is free for the corrected publication.
    """

    def refuse(_connection: Connection) -> PublishPolicyResponse:
        raise FailedPrecondition("AMBIGUOUS", "a tie")

    request = make_request(request_id=A_REQUEST_ID)
    with pytest.raises(FailedPrecondition):
        await store.change_once(request, refuse, PublishPolicyResponse, NOW)
    assert await store.read_changes(0) == Changes(0, [])
    request.policy.title = "corrected"
    await publish(store, request)
    assert await store.newest_sequence() == 1


async def test_what_stands_already_is_not_stored_again(publishers: list[PolicyPublisher], store: PolicyStore) -> None:
    """A publication that says what stands is answered with it, and writes nothing."""
    revision = await publish(store, make_request())
    told = await publishers[0].publish(make_request())
    assert told.policy == revision_to_proto(revision)
    assert await store.newest_sequence() == 1


async def test_request_id_answers_the_first_answer(store: PolicyStore) -> None:
    """The same content gets the first answer. Other content is refused, and nothing is stored."""
    request = make_request(request_id=A_REQUEST_ID)
    await publish(store, request)

    def publish_again(_connection: Connection) -> PublishPolicyResponse:
        raise AssertionError("published twice")

    again = await store.change_once(request, publish_again, PublishPolicyResponse, NOW)
    assert again.policy.name.endswith("/venue@1")
    request.policy.title = "another"
    with pytest.raises(InvalidArgument) as caught:
        await store.change_once(request, publish_again, PublishPolicyResponse, NOW)
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert await store.newest_sequence() == 1


async def test_a_change_sees_everything_committed_since_it_looked(store: PolicyStore) -> None:
    """The change sees everything after the sequence that the caller knows, no more and no less."""
    await publish(store, make_request("one"))
    second = await publish(store, make_request("two"))
    seen: list[Changes] = []

    def look(connection: Connection) -> PublishPolicyResponse:
        seen.append(read_changes(connection, 1))
        return PublishPolicyResponse()

    await store.change_once(make_request("three"), look, PublishPolicyResponse, NOW)
    assert seen == [Changes(2, [(2, second)], {2: NOW})]


async def test_of_ties_at_the_same_instant_one_is_published(publishers: list[PolicyPublisher]) -> None:
    """Several connections try in many rounds. One revision is stored, and each of the others is refused."""
    for round_ in range(1, 6):
        region = f"4101{round_:02}"
        told = await asyncio.gather(
            *(publisher.publish(make_request(f"p{number}", region)) for number, publisher in enumerate(publishers)),
            return_exceptions=True,
        )
        reasons = [one.reason for one in told if isinstance(one, HutongError)]
        assert reasons == ["AMBIGUOUS"] * (STORES - 1), told


async def test_revisions_of_one_series_at_the_same_instant_are_numbered(
    publishers: list[PolicyPublisher], store: PolicyStore
) -> None:
    """All are published, none under another's number, and no sequence is left out or given twice."""
    told = await asyncio.gather(
        *(publisher.publish(make_request(title=f"{n}")) for n, publisher in enumerate(publishers))
    )
    assert sorted(one.policy.revision for one in told) == list(range(1, STORES + 1))
    changes = await store.read_changes(0)
    assert [sequence for sequence, _ in changes.revisions] == list(range(1, STORES + 1))


async def test_same_content_at_the_same_instant_is_one_revision(
    publishers: list[PolicyPublisher], store: PolicyStore
) -> None:
    """However many apply the same file together."""
    told = await asyncio.gather(*(publisher.publish(make_request()) for publisher in publishers))
    assert {one.policy.name for one in told} == {"jurisdictions/410100/policies/venue@1"}
    assert await store.newest_sequence() == 1


async def test_withdrawals_at_the_same_instant_are_one_change(publishers: list[PolicyPublisher]) -> None:
    """The others find it withdrawn already."""
    name = (await publishers[0].publish(make_request())).policy.name
    request = WithdrawPolicyRequest(name=name, reason="an error")
    told = await asyncio.gather(*(publisher.withdraw(request) for publisher in publishers), return_exceptions=True)
    reasons = [one.reason for one in told if isinstance(one, HutongError)]
    assert reasons == ["ALREADY_WITHDRAWN"] * (STORES - 1), told


def test_of_ties_from_two_processes_one_is_published(url: str) -> None:
    """Real processes publish at the same time: one succeeds, and the other gets the reason."""
    publishers = [start_publisher(url, make_request(name)) for name in ("one", "two")]
    for _, pipe in publishers:
        assert pipe.recv() == "ready"
    for _, pipe in publishers:
        pipe.send("go")
    told = sorted(pipe.recv() for _, pipe in publishers)
    for process, _ in publishers:
        process.join()
    assert told[0] == "AMBIGUOUS"
    assert told[1] in {f"jurisdictions/410100/policies/{name}@1" for name in ("one", "two")}


async def test_process_killed_while_publishing_leaves_nothing_and_blocks_no_other(url: str, store: PolicyStore) -> None:
    """The turn passes on; nothing of its publication is there."""
    process, pipe = start_holder(url)
    assert pipe.recv() == "publishing"
    process.kill()
    process.join()
    revision = await publish(store, make_request("after"))
    assert await store.read_changes(0) == Changes(1, [(1, revision)], {1: NOW})


async def test_rows_put_in_bulk_are_those_of_publication(database: Database, store: PolicyStore) -> None:
    """Rows that benches load equal those that publications make."""
    request = make_request(retroactive_reason="why")
    request.policy.effective_end_time.CopyFrom(to_timestamp(START + DAY))
    revision = await publish(store, request)
    published = await database.read(_rows)
    statement = bare_statement(request.policy)

    def load(connection: object) -> None:
        for table in (tables.policies, tables.policy_changes):
            connection.execute(delete(table))  # type: ignore[attr-defined]
        connection.execute(insert(tables.policies), [policy_row(revision, statement)])  # type: ignore[attr-defined]
        row = change_row(revision, 1, NOW, current_life(connection, tables.policy_changes))  # type: ignore[arg-type]
        connection.execute(insert(tables.policy_changes).values(row))  # type: ignore[attr-defined]

    await database.write(load)
    assert await database.read(_rows) == published


def _rows(connection: object) -> list[object]:
    """Return the rows of all policies and changes. Rows that benches load have no life, because they need no tokens."""
    changes = [column for column in tables.policy_changes.c if column.name != "life"]
    queries = (select(tables.policies), select(*changes))
    found = [connection.execute(query).all() for query in queries]  # type: ignore[attr-defined]
    return [tuple(row) for rows in found for row in rows]
