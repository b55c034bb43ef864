"""The upper side of SubscribeSubjects and WatchNotifications."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence

import structlog
from hutong.exchange.v1.exchange_service_pb2 import (
    SubscribeSubjectsRequest,
    SubscribeSubjectsResponse,
    WatchNotificationsRequest,
    WatchNotificationsResponse,
)
from hutong.exchange.v1.replica_pb2 import ReplicatedChange
from hutong_texts import english
from sqlalchemy import Connection

from services.domain.errors import HutongError, InvalidArgument, ResourceExhausted, Unavailable
from services.domain.fields import read_instant
from services.domain.instant import SECOND, set_timestamp
from services.domain.names import format_node, parse_node
from services.domain.region import NATION
from services.domain.subject import Pepper
from services.results.changelog.model import ChangeKind
from services.results.exchange.convert.changes import fill_change
from services.results.exchange.convert.links import fill_link
from services.results.exchange.convert.positions import (
    subscription_position_from_proto,
    subscription_position_to_proto,
)
from services.results.exchange.convert.results import fill_replica
from services.results.exchange.downstream.notifications.notifications import (
    LINKS_AT_ONCE,
    Notification,
    note_links,
    read_notifications,
    repeat_missed,
    repeat_withheld,
)
from services.results.exchange.downstream.notifications.positions import newest_numbers, open_watch, read_life
from services.results.exchange.downstream.notifications.subscriptions import (
    find_all_links,
    find_open_transactions,
    read_subscribed,
    subscribe_node,
)
from services.results.exchange.model import NotificationPosition
from services.results.exchange.withheld import note_withheld, unknown_kinds
from services.results.timing import ResultsTiming
from services.runtime.clock import Clock
from services.runtime.limits import MAX_MESSAGE_BYTES
from services.runtime.server.service import Drain
from services.storage.engine import Database
from services.storage.pepper_marks import require_common_versions

MAX_MESSAGE_CHANGES = 1_000
"""The most changes in one message. They take about 300 KiB, far less than the 4 MiB of a gRPC message."""
MAX_WATCHES = 256
"""The most concurrent watches in one process. This allows several for each province."""
_SETTLE_SECONDS = 0.005
"""A new subscription waits for the end of open transactions. This is the wait between two checks."""

_log = structlog.get_logger(__name__)


class NotificationStream:
    """Stores subscriptions, and sends each node its notifications from the node's cursor on."""

    def __init__(
        self,
        database: Database,
        pepper: Pepper,
        clock: Clock,
        drain: Drain,
        timing: ResultsTiming,
        max_watches: int = MAX_WATCHES,
        own: str = NATION,
        subscribe_above: Callable[[Sequence[bytes]], Awaitable[None]] | None = None,
    ) -> None:
        self._own = own
        self._subscribe_above = subscribe_above
        self._timing = timing
        self._max_watches = max_watches
        self._database = database
        self._pepper = pepper
        self._clock = clock
        self._drain = drain
        self._watches = 0
        self._newest: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    async def subscribe(self, request: SubscribeSubjectsRequest) -> SubscribeSubjectsResponse:
        """Subscribe a node to subjects and return the stored results of these subjects.

        If the request is `nationwide`, this node first subscribes to the subjects at the node above. The subscription
        is committed before the results are read, so that a concurrent change is in the answer, in a notification, or in
        both. Links beyond LINKS_AT_ONCE come by notifications.

        Raises:
            InvalidArgument: BATCH_TOO_LARGE, the results exceed the size of a message.
            Unavailable: UPSTREAM_UNAVAILABLE, the node above does not answer.
        """
        region, now = parse_node(request.node), self._clock.now()
        if request.nationwide and self._subscribe_above is not None:
            await self._subscribe_above(list(request.subject_keys))
        keys = list(request.subject_keys)
        subjects, position = await self._database.write(subscribe_node, region, keys, now, self._own)
        open_before = await self._database.read(find_open_transactions)
        while open_before:
            # These transactions may have missed the subscription, and their changes cannot be read yet.
            await asyncio.sleep(_SETTLE_SECONDS)
            open_before &= await self._database.read(find_open_transactions)
        response = SubscribeSubjectsResponse(position=subscription_position_to_proto(position))
        for subscribed in await self._database.read(read_subscribed, region, subjects):
            subject = response.subjects.add(subject_keys=subscribed.subject_keys)
            for replica in subscribed.replicas:
                fill_replica(subject.results.add(), replica)
        links = await self._database.read(find_all_links, subjects)
        for link in links[:LINKS_AT_ONCE]:
            fill_link(response.links.add(), link)
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            text = english(
                "what is kept of them has over {max_message_bytes} bytes; ask for fewer at once",
                max_message_bytes=MAX_MESSAGE_BYTES,
            )
            raise InvalidArgument.field("subject_keys", text, "BATCH_TOO_LARGE")
        if others := [link.link_id for link in links[LINKS_AT_ONCE:]]:
            await self._database.write(note_links, region, others, now)
        return response

    async def watch(self, request: WatchNotificationsRequest) -> AsyncIterator[WatchNotificationsResponse]:
        """Send a node its notifications after the cursor until the node ends the call.

        Raises:
            FailedPrecondition: PEPPER_MISMATCH, the nodes do not read each other's subject keys.
            OutOfRange: CURSOR_TOO_OLD, the node has to subscribe to all its subjects again.
            ResourceExhausted: OVERLOADED, there are too many watches.
            Unavailable: SHUTTING_DOWN, the server drains; DATABASE_UNAVAILABLE, the database was started again.
        """
        region = parse_node(request.node)
        require_common_versions(request, self._pepper)
        commit_time = read_instant(request.commit_time, "commit_time") if request.HasField("commit_time") else None
        position = NotificationPosition(request.cursor, commit_time)
        subscribed = [subscription_position_from_proto(one) for one in request.subscription_positions]
        with self._slot():
            before = self._clock.now() - round(self._timing.notification_passed * SECOND)
            life = await self._database.write(open_watch, region, position, subscribed, before)
            if not request.cursor:
                await self._database.write(repeat_missed, region, self._clock.now(), self._own)
            unknown = unknown_kinds(request.capabilities)
            await self._database.write(repeat_withheld, region, unknown, self._clock.now())
            async for message in self._stream(region, request.cursor, unknown, life):
                yield message
        raise Unavailable("SHUTTING_DOWN", english("the server is being stopped; watch again from the cursor"))

    async def _stream(
        self, region: str, cursor: int, unknown: frozenset[ChangeKind], life: str
    ) -> AsyncIterator[WatchNotificationsResponse]:
        loop = asyncio.get_running_loop()
        _log.info("a node watches", node=format_node(region), cursor=cursor, not_sent=[kind.name for kind in unknown])
        noted: set[ChangeKind] = set()
        yield self._message(cursor)
        last_sent = loop.time()
        while not self._drain.begun:
            # The read that follows sees every notification up to this number.
            seen = self._newest.get(region, 0)
            notifications = await self._database.read(_read_in_life, life, region, cursor, self._own, unknown)
            if withheld := {one.kind for one in notifications if one.kind in unknown} - noted:
                # The position must be durable before the node moves its cursor.
                await self._database.write(note_withheld, region, withheld)
                noted |= withheld
            for notification in notifications:
                for message in self._messages(notification, cursor):
                    yield message
                cursor = notification.position.number
            if notifications:
                last_sent = loop.time()
            elif (left := last_sent + self._timing.notification_heartbeat - loop.time()) <= 0:
                yield self._message(cursor)
                last_sent = loop.time()
            else:
                await self._wait(region, seen, left)

    def _messages(self, notification: Notification, before: int) -> Iterator[WatchNotificationsResponse]:
        """Return a notification as one message or several. Only the last message moves the cursor."""
        message = self._message(before)
        for index, change in enumerate(notification.changes):
            if index and index % MAX_MESSAGE_CHANGES == 0:
                yield message
                message = self._message(before)
            replicated = ReplicatedChange()
            fill_change(replicated, change)
            message.changes.append(replicated)
        message.cursor = notification.position.number
        if notification.position.commit_time is not None:
            set_timestamp(message.commit_time, notification.position.commit_time)
        yield message

    def _message(self, cursor: int) -> WatchNotificationsResponse:
        message = WatchNotificationsResponse(cursor=cursor)
        set_timestamp(message.send_time, self._clock.now())
        return message

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        """Occupy a slot for a watch during the block. The poller runs while any slot is occupied."""
        if self._watches >= self._max_watches:
            raise ResourceExhausted("OVERLOADED", english("there are too many watches; watch again a little later"))
        self._watches += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.get_running_loop().create_task(self._poll())
        try:
            yield
        finally:
            self._watches -= 1

    async def _poll(self) -> None:
        while self._watches:
            try:
                newest = await self._database.read(newest_numbers)
            except HutongError as error:
                _log.warning("notifications cannot be read", reason=error.reason)
                newest = self._newest
            if newest != self._newest or self._drain.begun:
                self._newest = newest
                self._changed.set()
                self._changed = asyncio.Event()
            await asyncio.sleep(self._timing.notification_poll)

    async def _wait(self, region: str, seen: int, seconds: float) -> None:
        """Wait until the newest number differs from `seen` or the server drains, for at most some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._newest.get(region, 0) == seen and not self._drain.begun:
                    await self._changed.wait()


def _read_in_life(
    connection: Connection, life: str, node: str, after: int, own: str, unknown: Collection[ChangeKind]
) -> list[Notification]:
    """Return the next notifications of a watch that was opened in this life of the database.

    A connection outlives a failover. The new server may lack notifications that the watch has sent, and may have given
    their numbers to others.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE, another life has begun; the node has to open a watch with its position.
    """
    if read_life(connection) != life:
        text = english("the database was started again; watch again from the cursor")
        raise Unavailable("DATABASE_UNAVAILABLE", text)
    return read_notifications(connection, node, after, own, unknown)
