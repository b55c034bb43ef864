"""Notifications: a new subscriber misses no concurrent commit; numbers are in the order of commits."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest
from hutong.exchange.v1.exchange_service_pb2 import SubscribeSubjectsRequest, WatchNotificationsRequest
from sqlalchemy import Connection, delete, insert, text

from services.domain.errors import OutOfRange, ResourceExhausted, Unavailable
from services.domain.instant import HOUR, SECOND, Instant
from services.results.changelog.model import ChangeKind, LoggedChange
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.documents.rows import link_values
from services.results.documents.store import insert_link
from services.results.documents.tables import document_links
from services.results.exchange.downstream.notifications.notifications import (
    LINKS_AT_ONCE,
    notify_nodes,
    read_notifications,
)
from services.results.exchange.downstream.notifications.positions import open_watch
from services.results.exchange.downstream.notifications.stream import NotificationStream
from services.results.exchange.downstream.notifications.subscriptions import (
    find_open_transactions,
    read_subscribed,
    subscribe_node,
)
from services.results.exchange.model import NotificationPosition, Replica, SubscriptionPosition
from services.results.exchange.subscribers import list_subscribed
from services.results.exchange.tables import lab_homes
from services.results.missing_reports.model import MissingReport
from services.results.records.partitions import month_of, month_start
from services.results.records.tables import report_keys, results
from services.results.retention.purge import purge
from services.results.timing import ResultsTiming
from services.runtime.server.service import Drain
from services.storage.pepper_marks import pepper_mark
from tests.support.databases import MakeUrl
from tests.support.results.factories import NOW, PEPPER, USCC, make_tube, make_tubes, subject_key
from tests.support.results.store import Laboratory, open_laboratory
from tests.support.waiting import TIMEOUT_SECONDS, until

HENAN, SHANDONG = "410000", "370000"


@pytest.fixture
async def nation(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """The nation's store, to which a laboratory uploads."""
    async with open_laboratory(database_url("results")) as opened:
        yield Laboratory(opened.database, opened.clock, source_node="000000")


@pytest.fixture
async def postgresql(postgres_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """PostgreSQL: only a server has concurrent write transactions."""
    async with open_laboratory(postgres_url("results")) as opened:
        yield Laboratory(opened.database, opened.clock, source_node="000000")


async def subscribe(laboratory: Laboratory, node: str, *persons: int, now: Instant = NOW) -> SubscriptionPosition:
    keys = [subject_key(person) for person in persons]
    _, position = await laboratory.database.write(subscribe_node, node, keys, now)
    return position


async def notified(laboratory: Laboratory, node: str, after: int = 0) -> list[tuple[int, list[str]]]:
    """Return the number and the report names of each notification after a number."""
    notifications = await laboratory.database.read(read_notifications, node, after)
    return [(notification.position.number, names(notification.changes)) for notification in notifications]


def names(changes: Sequence[object]) -> list[str]:
    return [
        f"{change.result.report_number}@{change.result.revision}"
        if isinstance(change, Replica)
        else change.report_number
        for change in changes
        if isinstance(change, Replica | MissingReport)
    ]


async def test_each_subscriber_is_notified_of_its_subjects_alone_once_a_commit(nation: Laboratory) -> None:
    await subscribe(nation, HENAN, 0, 2)
    await subscribe(nation, SHANDONG, 2)
    await nation.send(make_tubes(4))
    await nation.send([make_tube(7)], upload_id="v")
    assert await notified(nation, HENAN) == [(1, []), (2, ["R0@1", "R2@1"])]
    assert await notified(nation, SHANDONG) == [(1, []), (2, ["R2@1"])]
    assert await notified(nation, HENAN, after=2) == []


async def test_a_subject_without_subscribers_leaves_no_notification(nation: Laboratory) -> None:
    await nation.send(make_tubes(4))
    await subscribe(nation, HENAN, 9)
    await nation.send(make_tubes(4, 20), upload_id="v")
    assert await notified(nation, HENAN) == [(1, [])]


async def open_at(
    laboratory: Laboratory, node: str, number: int, time: Instant | None, *subscribed: SubscriptionPosition
) -> None:
    """Open a node's watch, which keeps no notification before its position."""
    position = NotificationPosition(number, time)
    await laboratory.database.write(open_watch, node, position, subscribed, NOW + HOUR)


async def test_each_subscription_takes_a_number(nation: Laboratory) -> None:
    """A nation without the subscription then does not know the position after it. A repeat takes a number too."""
    positions = [
        await subscribe(nation, HENAN, 0, 1),
        await subscribe(nation, HENAN, 1),
        await subscribe(nation, HENAN, 1, 2, now=NOW + SECOND),
    ]
    assert [(one.number, one.commit_time) for one in positions] == [(1, NOW), (2, NOW), (3, NOW + SECOND)]
    assert len({one.life for one in positions}) == 1
    await open_at(nation, HENAN, 3, NOW + SECOND)
    assert await notified(nation, HENAN) == [(3, [])]
    with pytest.raises(OutOfRange):
        await open_at(nation, SHANDONG, 1, NOW)


async def test_a_watch_is_refused_unless_the_positions_of_all_subscriptions_are_known(nation: Laboratory) -> None:
    """A position of a lost life has another time or no notification. It is refused also beside the cursor 0."""
    first, second = await subscribe(nation, HENAN, 0), await subscribe(nation, HENAN, 1, now=NOW + SECOND)
    lost = [SubscriptionPosition(2, NOW, "lost"), SubscriptionPosition(3, NOW + SECOND, "lost")]
    for number, time in ((0, None), (1, NOW)):
        await open_at(nation, HENAN, number, time, first, second)
        for one in lost:
            with pytest.raises(OutOfRange) as refused:
                await open_at(nation, HENAN, number, time, first, second, one)
            assert refused.value.reason == "CURSOR_TOO_OLD"


async def test_a_position_that_a_node_stores_late_is_still_known(nation: Laboratory) -> None:
    """Notifications before a watch are kept as long as a node may take to store the positions that they stand for."""
    late = await subscribe(nation, HENAN, 0)
    await subscribe(nation, HENAN, 1, now=NOW + SECOND)
    position = NotificationPosition(2, NOW + SECOND)
    await nation.database.write(open_watch, HENAN, position, (), NOW)
    await nation.database.write(open_watch, HENAN, position, [late], NOW + 1)
    with pytest.raises(OutOfRange):
        await nation.database.write(open_watch, HENAN, position, [late], NOW + 1)


async def test_subscribing_twice_is_subscribing(nation: Laboratory) -> None:
    await nation.send([make_tube(0)])
    await subscribe(nation, HENAN, 0)
    await subscribe(nation, HENAN, 0, 1)
    assert await nation.database.read(list_subscribed, HENAN, b"", 10) == sorted([subject_key(0), subject_key(1)])
    (known,) = await nation.database.read(read_subscribed, HENAN, [[subject_key(0)]])
    assert names(known.replicas) == ["R0@1"]
    assert all(len(replica.content_hash) == 16 for replica in known.replicas)


async def test_acknowledged_notifications_are_deleted_but_for_the_last(nation: Laboratory) -> None:
    await subscribe(nation, HENAN, *range(5))
    for person in range(5):
        await nation.send([make_tube(person)], upload_id=f"u{person}", now=NOW + person * SECOND)
    await open_at(nation, HENAN, 4, NOW + 2 * SECOND)
    assert [number for number, _ in await notified(nation, HENAN)] == [4, 5, 6]
    await open_at(nation, HENAN, 4, NOW + 2 * SECOND)
    await open_at(nation, HENAN, 0, None)
    assert [number for number, _ in await notified(nation, HENAN)] == [4, 5, 6]
    for number, time in ((3, NOW + SECOND), (7, NOW), (4, NOW), (2**62, NOW)):
        with pytest.raises(OutOfRange) as refused:
            await open_at(nation, HENAN, number, time)
        assert refused.value.reason == "CURSOR_TOO_OLD"


async def test_numbers_have_the_order_of_commits(postgresql: Laboratory) -> None:
    """A reader beside many concurrent uploads never finds a number below one that it has read."""
    await subscribe(postgresql, HENAN, *range(30))
    uploads = [
        asyncio.ensure_future(postgresql.send([make_tube(person)], upload_id=f"u{person}")) for person in range(30)
    ]
    cursor, seen = 1, []
    while len(seen) < 30:
        for number, _ in await notified(postgresql, HENAN, after=cursor):
            assert number == cursor + 1
            cursor = number
            seen.append(number)
    await asyncio.gather(*uploads)
    assert seen == list(range(2, 32))


async def test_a_subscription_waits_for_commits_that_have_looked_before(postgresql: Laboratory) -> None:
    """Such a commit sends no notification, so what it writes must be in the answer."""
    looked, may_end = threading.Event(), threading.Event()

    def commit(connection: Connection) -> None:
        change = LoggedChange(ChangeKind.RESULTS, USCC, [("R9", 1)], [subject_key(9)])
        notify_nodes(connection, [change], NOW)
        looked.set()
        assert may_end.wait(TIMEOUT_SECONDS)
        connection.execute(insert(lab_homes).values(uscc=USCC, node="the commit's"))

    committing = asyncio.ensure_future(postgresql.database.write(commit))
    await asyncio.to_thread(looked.wait, TIMEOUT_SECONDS)
    stream = NotificationStream(postgresql.database, PEPPER, postgresql.clock, Drain(), ResultsTiming())
    request = SubscribeSubjectsRequest(node="nodes/410000", subject_keys=[subject_key(9)])
    subscribing = asyncio.ensure_future(stream.subscribe(request))

    async def registered() -> bool:
        return bool(await postgresql.database.read(list_subscribed, HENAN, b"", 1))

    await until(registered)
    assert len(await postgresql.database.read(find_open_transactions)) == 1
    done, _ = await asyncio.wait([subscribing], timeout=0.2)
    assert not done
    may_end.set()
    await subscribing
    assert committing.done() or await committing is None
    assert await postgresql.database.read(find_open_transactions) == set()


async def test_a_subscription_made_while_reports_come_in_misses_none(nation: Laboratory) -> None:
    """Each report is in the answer or in a notification."""
    stream = NotificationStream(nation.database, PEPPER, nation.clock, Drain(), ResultsTiming())
    persons = range(25)

    async def report(person: int) -> None:
        await nation.send([make_tube(person)], upload_id=f"u{person}")

    async def begin(person: int) -> set[str]:
        request = SubscribeSubjectsRequest(node="nodes/410000", subject_keys=[subject_key(person)])
        response = await stream.subscribe(request)
        return {result.report_number for subject in response.subjects for result in subject.results}

    answers = await asyncio.gather(*(work(person) for person in persons for work in (report, begin)))
    in_answers = set().union(*(answer for answer in answers if answer))
    by_notification, cursor = set(), 0
    while page := await notified(nation, HENAN, after=cursor):
        by_notification |= {name.partition("@")[0] for _, names in page for name in names}
        cursor = page[-1][0]
    assert in_answers | by_notification == {f"R{person}" for person in persons}


async def test_links_that_an_answer_has_no_room_for_come_by_notifications(nation: Laboratory) -> None:
    """The active link is in the answer."""
    ids = [str(uuid.UUID(int=number, version=4)) for number in range(LINKS_AT_ONCE + 2)]
    documents = [LinkedDocument(subject_key(person), 1, "") for person in (1, 2)]

    def fill(connection: Connection) -> None:
        values = [
            link_values(DocumentLink(name, *documents, "", NOW, unlink_time=NOW if name != ids[-1] else None))
            for name in ids
        ]
        connection.execute(insert(document_links), values)

    await nation.database.write(fill)
    stream = NotificationStream(nation.database, PEPPER, nation.clock, Drain(), ResultsTiming())
    response = await stream.subscribe(SubscribeSubjectsRequest(node=f"nodes/{HENAN}", subject_keys=[subject_key(1)]))
    answered = [link.name.removeprefix("links/") for link in response.links]
    assert (len(answered), answered[0]) == (LINKS_AT_ONCE, ids[-1])
    found = await nation.database.read(read_notifications, HENAN, 0)
    told = [change.link_id for one in found for change in one.changes if isinstance(change, DocumentLink)]
    assert sorted([*answered, *told]) == sorted(ids)


async def test_there_are_so_many_watches_and_no_more(nation: Laboratory) -> None:
    """A new watch is admitted when one has ended."""
    stream = NotificationStream(nation.database, PEPPER, nation.clock, Drain(), ResultsTiming(), max_watches=2)
    request = WatchNotificationsRequest(node="nodes/410000", key_version=1, pepper_mark=pepper_mark(PEPPER))
    watches = [aiter(stream.watch(request)) for _ in range(2)]
    for watch in watches:
        await anext(watch)
    with pytest.raises(ResourceExhausted) as refused:
        await anext(aiter(stream.watch(request)))
    assert refused.value.reason == "OVERLOADED"
    await watches.pop().aclose()
    watches.append(aiter(stream.watch(request)))
    await anext(watches[-1])
    for watch in watches:
        await watch.aclose()


async def test_a_watch_ends_once_the_database_may_have_been_restored(postgresql: Laboratory) -> None:
    """Another table stands for a server that took over. Its connections serve reads without an error."""
    timing = ResultsTiming(notification_heartbeat=0.05)
    stream = NotificationStream(postgresql.database, PEPPER, postgresql.clock, Drain(), timing)
    request = WatchNotificationsRequest(node=f"nodes/{HENAN}", key_version=1, pepper_mark=pepper_mark(PEPPER))
    watch = aiter(stream.watch(request))
    for _ in range(3):
        await anext(watch)

    def take_over(connection: Connection) -> None:
        for statement in (
            "CREATE TABLE later (LIKE notifications INCLUDING ALL)",
            "DROP TABLE notifications",
            "ALTER TABLE later RENAME TO notifications",
        ):
            connection.execute(text(statement))

    await postgresql.database.write(take_over)

    async def watch_on() -> None:
        async for _ in watch:
            pass

    with pytest.raises(Unavailable) as ended:
        await asyncio.wait_for(watch_on(), TIMEOUT_SECONDS)
    assert ended.value.reason == "DATABASE_UNAVAILABLE"


async def test_commits_that_concern_the_same_nodes_never_wait_in_a_circle(postgresql: Laboratory) -> None:
    nodes = (HENAN, SHANDONG, "220000")
    for node in nodes:
        await subscribe(postgresql, node, *range(80))

    async def commit(first: int) -> None:
        await postgresql.send(make_tubes(4, first), upload_id=f"u{first}")

    await asyncio.gather(*(commit(first) for first in range(0, 80, 4)))
    for node in nodes:
        page = await notified(postgresql, node)
        assert [number for number, _ in page] == list(range(1, 22))


async def test_of_what_retention_removed_the_notification_alone_is_left(nation: Laboratory) -> None:
    """The number of the notification is still sent, so that the reader's cursor moves on."""
    await subscribe(nation, HENAN, 0)
    await nation.send([make_tube(0)])

    def remove(connection: Connection) -> None:
        connection.execute(delete(results))
        connection.execute(delete(report_keys))

    await nation.database.write(remove)
    assert await notified(nation, HENAN) == [(1, []), (2, [])]


async def test_a_subscription_ends_when_no_results_are_kept_and_no_import_was_made_since(
    nation: Laboratory,
) -> None:
    """An old subscription stays if its subject has a result under any document, or if it was renewed."""
    horizon = month_start(month_of(NOW))
    await nation.send([make_tube(0, reported=horizon - HOUR), make_tube(1, reported=horizon + HOUR)])
    tie = DocumentLink("l", LinkedDocument(subject_key(3), 1, ""), LinkedDocument(subject_key(1), 1, ""), "", NOW)
    await nation.database.write(insert_link, tie)
    for node in (HENAN, SHANDONG):
        await subscribe(nation, node, 0, 1, 2, 4, now=horizon - 1)
    await subscribe(nation, HENAN, 2, now=horizon)
    await asyncio.to_thread(purge, nation.database, horizon, NOW)
    everybody = [sorted(subject_key(person) for person in persons) for persons in ((1, 2, 3), (1, 3))]
    assert [await nation.database.read(list_subscribed, node, b"", 9) for node in (HENAN, SHANDONG)] == everybody
