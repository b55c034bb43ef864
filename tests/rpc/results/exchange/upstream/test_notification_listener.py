"""A province's listener against a nation that is silent, breaks off, returns, or sends malformed changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from hutong.exchange.v1.exchange_service_pb2 import (
    SubjectResults,
    SubscribeSubjectsRequest,
    SubscribeSubjectsResponse,
    WatchNotificationsRequest,
    WatchNotificationsResponse,
)
from hutong.exchange.v1.exchange_service_pb2_grpc import (
    ExchangeServiceServicer,
    ExchangeServiceStub,
    add_ExchangeServiceServicer_to_server,
)
from hutong.exchange.v1.replica_pb2 import ReplicatedChange, ReplicatedMissingReport
from structlog.testing import capture_logs

from services.domain.instant import to_timestamp
from services.domain.region import NATION
from services.results.documents.model import DocumentLink, LinkedDocument
from services.results.exchange.convert.changes import fill_change
from services.results.exchange.convert.positions import subscription_position_to_proto
from services.results.exchange.model import NotificationPosition, SubscriptionPosition
from services.results.exchange.subscribers import (
    add_subscriptions,
    forget_positions,
    list_positions,
    record_positions,
)
from services.results.exchange.upstream.notification_listener import NotificationListener
from services.results.exchange.upstream.notification_store import NotificationStore
from services.results.exchange.upstream.subscription_client import SubscriptionClient
from services.results.missing_reports.tables import missing_reports
from services.results.timing import ResultsTiming
from services.runtime.background import Background
from services.runtime.client.channels import open_channel
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.configuration.settings import Settings
from services.storage.pepper_marks import pepper_mark
from tests.support.databases import MakeUrl
from tests.support.ports import free_address
from tests.support.results.country import HENAN, Country, open_country
from tests.support.results.factories import LAB_NAME, NOW, PEPPER, subject_key
from tests.support.results.store import Laboratory, open_laboratory
from tests.support.waiting import until

Watch = Callable[[WatchNotificationsRequest, Any], AsyncIterator[WatchNotificationsResponse]]


class PretendedNation(ExchangeServiceServicer):
    """Answers successive watches by scripts, further ones by the last script.

    Refuses to subscribe to more than `most` subjects at once. With `life` it states the positions of subscriptions.
    """

    def __init__(self, *watches: Watch, most: int = 500, life: str = "") -> None:
        self._life = life
        self._newest = 0
        self._watches = list(watches)
        self._most = most
        self.asked: list[WatchNotificationsRequest] = []
        self.subscribed: list[bytes] = []

    async def WatchNotifications(
        self, request: WatchNotificationsRequest, context: Any
    ) -> AsyncIterator[WatchNotificationsResponse]:
        self.asked.append(request)
        watch = self._watches[min(len(self.asked), len(self._watches)) - 1]
        async for message in watch(request, context):
            yield message

    async def SubscribeSubjects(self, request: SubscribeSubjectsRequest, context: Any) -> SubscribeSubjectsResponse:
        if len(request.subject_keys) > self._most:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "")
        self.subscribed += request.subject_keys
        answer = SubscribeSubjectsResponse(
            subjects=[SubjectResults(subject_keys=[key]) for key in request.subject_keys]
        )
        if self._life:
            self._newest += 1
            position = SubscriptionPosition(self._newest, NOW, self._life)
            answer.position.CopyFrom(subscription_position_to_proto(position))
        return answer


async def serve(nation: PretendedNation, port: int = 0) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_ExchangeServiceServicer_to_server(nation, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, port


@pytest.fixture
async def henan(sqlite_url: MakeUrl) -> AsyncIterator[Laboratory]:
    async with open_laboratory(sqlite_url("results")) as opened:
        yield opened


@contextlib.asynccontextmanager
async def listening(
    henan: Laboratory, port: int, timing: ResultsTiming | None = None
) -> AsyncIterator[NotificationStore]:
    """Run Henan's listener against a port."""
    store = NotificationStore(henan.database, henan.clock, HENAN, henan.stores.applier, henan.stores.partitions)

    def open_apart() -> grpc.aio.Channel:
        return open_channel(f"127.0.0.1:{port}", Settings.from_environment({}), dedicated=True)

    line = ReconnectingStub(open_apart, ExchangeServiceStub)
    timing = timing or ResultsTiming()
    subscriptions = SubscriptionClient(line, HENAN, timing)
    listening_on = Background([NotificationListener(store, open_apart, subscriptions, HENAN, PEPPER, timing).run])
    listening_on.start()
    try:
        yield store
    finally:
        await listening_on.stop()
        await line.close()


def missing(number: str) -> ReplicatedChange:
    report = ReplicatedMissingReport(
        lab=LAB_NAME, report_number=number, create_time=to_timestamp(NOW), raising_node="nodes/370000"
    )
    return ReplicatedChange(missing_report=report)


def notification(cursor: int, *changes: ReplicatedChange) -> WatchNotificationsResponse:
    commit_time = to_timestamp(NOW + cursor) if cursor else None
    return WatchNotificationsResponse(cursor=cursor, commit_time=commit_time, changes=changes)


def telling(*messages: WatchNotificationsResponse, then: Callable[[Any], Awaitable[None]] | None = None) -> Watch:
    """Return a watch that sends these messages, and then is silent or ends as given."""

    async def watch(_: WatchNotificationsRequest, context: Any) -> AsyncIterator[WatchNotificationsResponse]:
        for message in messages:
            yield message
        await (then(context) if then else asyncio.Event().wait())

    return watch


def ending(code: grpc.StatusCode) -> Callable[[Any], Awaitable[None]]:
    async def end(context: Any) -> None:
        await context.abort(code, "")

    return end


async def missing_numbers(henan: Laboratory) -> list[str]:
    query = missing_reports.select().order_by(missing_reports.c.report_number)
    return await henan.database.read(lambda connection: [row.report_number for row in connection.execute(query)])


async def stands_at(store: NotificationStore, number: int) -> None:
    async def there() -> bool:
        place = await store.read_position()
        return place is not None and place.number == number

    await until(there)


async def test_a_silent_nation_is_called_again(henan: Laboratory) -> None:
    """A silent nation is treated like one on a half-open link: the next watch begins at this node's position."""
    nation = PretendedNation(telling(notification(0)), telling(notification(0), notification(1, missing("R1"))))
    server, port = await serve(nation)
    async with listening(henan, port, ResultsTiming(listener_silence=0.2)) as store:
        await stands_at(store, 1)
        await until(lambda: nation.asked[-1].cursor == 1)
    await server.stop(None)
    # On a busy machine a watch may be silent before its first message too.
    cursors = [request.cursor for request in nation.asked]
    assert cursors == sorted(cursors)
    assert cursors[:2] == [0, 0]
    assert nation.asked[-1].commit_time == to_timestamp(NOW + 1)
    assert await missing_numbers(henan) == ["R1"]


async def test_it_is_heard_again_as_soon_as_it_is_back(henan: Laboratory) -> None:
    port = int(free_address().rpartition(":")[2])
    server, _ = await serve(PretendedNation(telling(notification(0))), port)
    async with listening(henan, port) as store:
        await stands_at(store, 0)
        with capture_logs() as logs:
            await server.stop(None)
            await until(lambda: any(line["event"] == "the nation's notifications are not received" for line in logs))
        server, _ = await serve(PretendedNation(telling(notification(1, missing("R1")))), port)
        await stands_at(store, 1)
    await server.stop(None)


async def test_half_of_a_long_notice_moves_nothing_on(henan: Laboratory) -> None:
    """The notification is sent again from its beginning."""
    nation = PretendedNation(
        telling(notification(0, missing("R1")), then=ending(grpc.StatusCode.UNAVAILABLE)),
        telling(notification(0, missing("R1")), notification(1, missing("R2"))),
    )
    server, port = await serve(nation)
    async with listening(henan, port) as store:
        await stands_at(store, 1)
    await server.stop(None)
    assert [request.cursor for request in nation.asked] == [0, 0]
    assert await missing_numbers(henan) == ["R1", "R2"]


async def test_what_cannot_be_holds_nothing_up(henan: Laboratory) -> None:
    """One change is of an unknown kind, one lacks required fields, one cannot be stored."""
    broken = [ReplicatedChange(), ReplicatedChange(missing_report=ReplicatedMissingReport(lab="labs/?"))]
    nation = PretendedNation(telling(notification(1, *broken, missing("x" * 65), missing("a\0b1"), missing("R1"))))
    server, port = await serve(nation)
    async with listening(henan, port) as store:
        await stands_at(store, 1)
    await server.stop(None)
    assert await missing_numbers(henan) == ["R1"]


async def test_a_document_with_many_new_links_is_subscribed_to_once(henan: Laboratory) -> None:
    """An answer to a subscription always has all links of its subject."""
    messages = []
    for number in range(5):
        documents = [LinkedDocument(subject_key(person), 1, "") for person in (1, 2)]
        messages.append(ReplicatedChange())
        fill_change(messages[-1], DocumentLink(str(number).rjust(36, "0"), *documents, "", NOW, source_node="220000"))
    nation = PretendedNation(telling(notification(1, *messages)))
    server, port = await serve(nation)
    async with listening(henan, port) as store:
        await stands_at(store, 1)
    await server.stop(None)
    assert nation.subscribed == [subject_key(1)]


async def test_a_position_that_the_nation_does_not_know_makes_all_subjects_be_subscribed_again(
    henan: Laboratory,
) -> None:
    keys = sorted(subject_key(person) for person in range(45))
    await henan.database.write(add_subscriptions, NATION, keys, NOW)
    nation = PretendedNation(
        telling(notification(7), then=ending(grpc.StatusCode.UNAVAILABLE)),
        telling(then=ending(grpc.StatusCode.OUT_OF_RANGE)),
        telling(notification(1, missing("R1"))),
    )
    server, port = await serve(nation)
    async with listening(henan, port) as store:
        await stands_at(store, 1)
    await server.stop(None)
    assert [request.cursor for request in nation.asked] == [0, 7, 0]
    # Once because it had no position, once because the nation did not know its position.
    assert nation.subscribed == keys + keys


async def record(henan: Laboratory, *positions: SubscriptionPosition) -> None:
    """Store positions of subscriptions as an import does."""
    await henan.database.write(record_positions, positions)


async def list_stated(henan: Laboratory) -> list[SubscriptionPosition]:
    return [one.position for one in await henan.database.read(list_positions)]


def stated_in(request: WatchNotificationsRequest) -> list[tuple[int, str]]:
    return [(one.number, one.life) for one in request.subscription_positions]


async def test_positions_of_subscriptions_are_stated_until_a_watch_that_began_after_them_is_accepted(
    henan: Laboratory,
) -> None:
    """Position 9 came late, from a life that the nation may have lost. Position 12 is not passed yet."""
    nation = PretendedNation(
        telling(notification(10), then=ending(grpc.StatusCode.UNAVAILABLE)),
        telling(then=ending(grpc.StatusCode.UNAVAILABLE)),
        telling(notification(10)),
    )
    server, port = await serve(nation)
    positions = [SubscriptionPosition(9, NOW, "one"), SubscriptionPosition(12, NOW + 1, "two")]
    await record(henan, *positions)
    async with listening(henan, port):
        await until(lambda: len(nation.asked) >= 3)

        async def passed() -> bool:
            return await list_stated(henan) == positions[1:]

        await until(passed)
    await server.stop(None)
    assert [(request.cursor, stated_in(request)) for request in nation.asked[:3]] == [
        (0, [(9, "one"), (12, "two")]),
        (10, [(9, "one"), (12, "two")]),
        (10, [(9, "one"), (12, "two")]),
    ]
    assert nation.asked[0].subscription_positions[0].commit_time == to_timestamp(NOW)


async def test_an_unknown_position_of_a_subscription_makes_all_subjects_be_subscribed_again(henan: Laboratory) -> None:
    """The positions of the new subscriptions replace the unknown one. A position that came meanwhile is kept."""
    keys = sorted(subject_key(person) for person in range(25))
    await henan.database.write(add_subscriptions, NATION, keys, NOW)
    came = SubscriptionPosition(8, NOW, "lost")

    async def refuse(context: Any) -> None:
        await record(henan, came)
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "")

    nation = PretendedNation(telling(then=refuse), telling(notification(0)), life="new")
    server, port = await serve(nation)
    await record(henan, SubscriptionPosition(7, NOW, "lost"), SubscriptionPosition(7, NOW, "older"))
    async with listening(henan, port):
        await until(lambda: len(nation.asked) >= 2)
    await server.stop(None)
    # The first subscriptions to all subjects are those of a node without a cursor.
    assert [stated_in(request) for request in nation.asked[:2]] == [
        [(2, "new"), (7, "lost"), (7, "older")],
        [(4, "new"), (8, "lost")],
    ]
    assert nation.subscribed == keys + keys


async def test_of_each_life_the_newest_position_of_a_subscription_is_kept(database_url: MakeUrl) -> None:
    """A newer life hides no older one, because the older one may be lost."""
    async with open_laboratory(database_url("results")) as henan:
        await record(henan, SubscriptionPosition(7, NOW, "one"), SubscriptionPosition(6, NOW, "one"))
        await record(henan, SubscriptionPosition(4, NOW, "two"), SubscriptionPosition(5, NOW, "one"))
        await record(henan, SubscriptionPosition(9, NOW + 1, "two"))
        await record(henan)
        kept = [SubscriptionPosition(7, NOW, "one"), SubscriptionPosition(9, NOW + 1, "two")]
        assert await list_stated(henan) == kept
        one, two = await henan.database.read(list_positions)
        # An answer with a smaller number is stored after the positions were read.
        await record(henan, SubscriptionPosition(8, NOW, "two"))
        await henan.database.write(forget_positions, [one, two])
        assert await list_stated(henan) == kept[1:]


async def test_subjects_with_more_results_than_a_message_holds_are_subscribed_in_halves(henan: Laboratory) -> None:
    """The nation refuses more than three subjects at once, and all 45 get subscribed.

    The subjects are subscribed to again at the start of the watch, and then all at once by their imports.
    """
    keys = sorted(subject_key(person) for person in range(45))
    await henan.database.write(add_subscriptions, NATION, keys, NOW)
    nation = PretendedNation(telling(notification(1)), most=3)
    server, port = await serve(nation)
    async with listening(henan, port) as store:
        await stands_at(store, 1)
        assert nation.subscribed == keys
        line = ReconnectingStub(
            lambda: open_channel(f"127.0.0.1:{port}", Settings.from_environment({}), dedicated=True),
            ExchangeServiceStub,
        )
        gateway = SubscriptionClient(line, HENAN, ResultsTiming())
        together = await asyncio.gather(*(gateway.subscribe([key]) for key in keys))
        await line.close()
    await server.stop(None)
    assert [subscribed.subject_keys for subscribed in together] == [[key] for key in keys]


async def test_another_process_that_is_further_is_not_set_back(henan: Laboratory) -> None:
    async with listening(henan, 9) as store:
        await store.restart(None)
        await store.apply([], NotificationPosition(5, NOW))
        await store.apply([], NotificationPosition(3, NOW))
        await store.restart(NotificationPosition(4, NOW))
        assert await store.read_position() == NotificationPosition(5, NOW)


def watch(country: Country, region: str = HENAN) -> Any:
    request = WatchNotificationsRequest(node=f"nodes/{region}", key_version=1, pepper_mark=pepper_mark(PEPPER))
    return country.nation.exchange.WatchNotifications(request)


async def test_a_watch_without_notifications_gets_heartbeats(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    async with open_country(tmp_path, sqlite_url, ResultsTiming(notification_heartbeat=0.1)) as country:
        call = watch(country)
        beats = [await call.read() for _ in range(3)]
        call.cancel()
    assert [(beat.cursor, len(beat.changes)) for beat in beats] == [(0, 0)] * 3
    assert beats[0].send_time.ToMicroseconds() < beats[2].send_time.ToMicroseconds()
