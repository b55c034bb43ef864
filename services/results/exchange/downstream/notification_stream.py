"""Notifications to nodes, served at the nation: SubscribeSubjects and WatchNotifications."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import structlog
from hutong.exchange.v1.exchange_service_pb2 import (
    SubscribeSubjectsRequest,
    SubscribeSubjectsResponse,
    WatchNotificationsRequest,
    WatchNotificationsResponse,
)
from hutong.exchange.v1.replica_pb2 import ReplicatedChange

from services.domain.errors import FailedPrecondition, HutongError, InvalidArgument, ResourceExhausted, Unavailable
from services.domain.instant import from_timestamp, set_timestamp
from services.domain.names import format_node, parse_node
from services.domain.subject import Pepper
from services.results.exchange.convert import fill_change, fill_link, fill_replica
from services.results.exchange.downstream.notifications import (
    Notification,
    newest_numbers,
    open_watch,
    read_notifications,
)
from services.results.exchange.downstream.subscriptions import (
    find_ties,
    find_under_way,
    read_subscribed,
    subscribe_node,
)
from services.results.exchange.model import NotificationPosition
from services.results.records.pepper_check import pepper_mark
from services.results.timing import ResultsTiming
from services.runtime.clock import Clock
from services.runtime.limits import MAX_MESSAGE_BYTES
from services.runtime.server.service import Drain
from services.storage.engine import Database

MAX_MESSAGE_CHANGES = 1_000
"""Changes in one message: some 300 KiB."""
MAX_WATCHES = 256
"""Watches at once in one process: several for each province."""
_GLANCE_SECONDS = 0.5
"""How often a waiting watch sees whether the server is to stop."""
_SETTLE_SECONDS = 0.005
"""Between two looks whether the transactions have ended that a node that subscribes waits for."""

_log = structlog.get_logger(__name__)


class NotificationStream:
    """Registers subscriptions and notifies nodes, each from a cursor of its own."""

    def __init__(
        self,
        database: Database,
        pepper: Pepper,
        clock: Clock,
        drain: Drain,
        timing: ResultsTiming,
        max_watches: int = MAX_WATCHES,
    ) -> None:
        self._timing = timing
        self._max_watches = max_watches
        self._database = database
        self._mark = pepper_mark(pepper)
        self._clock = clock
        self._drain = drain
        self._watches = 0
        self._newest: dict[str, int] = {}
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def subscribe(self, request: SubscribeSubjectsRequest) -> SubscribeSubjectsResponse:
        """Register first and read then: a change is in the answer, or told by a notification, or both."""
        region, now = parse_node(request.node), self._clock.now()
        subjects = await self._database.write(subscribe_node, region, list(request.subject_keys), now)
        under_way = await self._database.read(find_under_way)
        while under_way:
            # They may have looked before, and their changes are not to be read yet.
            await asyncio.sleep(_SETTLE_SECONDS)
            under_way &= await self._database.read(find_under_way)
        response = SubscribeSubjectsResponse()
        for subscribed in await self._database.read(read_subscribed, subjects):
            subject = response.subjects.add(subject_keys=subscribed.subject_keys)
            for replica in subscribed.replicas:
                fill_replica(subject.results.add(), replica)
        for link in await self._database.read(find_ties, subjects):
            fill_link(response.links.add(), link)
        if response.ByteSize() > MAX_MESSAGE_BYTES:
            text = f"what is kept of them has over {MAX_MESSAGE_BYTES} bytes; ask for fewer at once"
            raise InvalidArgument.field("subject_keys", text, "BATCH_TOO_LARGE")
        return response

    async def watch(self, request: WatchNotificationsRequest) -> AsyncIterator[WatchNotificationsResponse]:
        """Tell a node what concerns it, for as long as it stays."""
        region = parse_node(request.node)
        if request.pepper_mark != self._mark:
            raise FailedPrecondition(
                "PEPPER_MISMATCH", "the subject keys are made with another pepper", metadata={"node": request.node}
            )
        commit_time = from_timestamp(request.commit_time) if request.HasField("commit_time") else None
        with self._slot():
            await self._database.write(open_watch, region, NotificationPosition(request.cursor, commit_time))
            async for message in self._tell(region, request.cursor):
                yield message
        raise Unavailable("SHUTTING_DOWN", "the server is being stopped; watch again from the cursor")

    async def _tell(self, region: str, cursor: int) -> AsyncIterator[WatchNotificationsResponse]:
        loop = asyncio.get_running_loop()
        _log.info("a node watches", node=format_node(region), cursor=cursor)
        yield self._message(cursor)
        spoken = loop.time()
        while not self._drain.begun:
            # Whatever has a number up to this one is seen by the read that follows.
            seen = self._newest.get(region, 0)
            notifications = await self._database.read(read_notifications, region, cursor)
            for notification in notifications:
                for message in self._messages(notification, cursor):
                    yield message
                cursor = notification.position.number
            if notifications:
                spoken = loop.time()
            elif loop.time() - spoken >= self._timing.notification_heartbeat:
                yield self._message(cursor)
                spoken = loop.time()
            else:
                await self._wait(region, seen)

    def _messages(self, notification: Notification, before: int) -> Iterator[WatchNotificationsResponse]:
        """A notification in one message or several, of which the last moves the cursor on."""
        message = self._message(before)
        for index, change in enumerate(notification.changes):
            if index and index % MAX_MESSAGE_CHANGES == 0:
                yield message
                message = self._message(before)
            told = ReplicatedChange()
            fill_change(told, change)
            message.changes.append(told)
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
        """One of the watches that there may be; while there is any, somebody looks for news."""
        if self._watches >= self._max_watches:
            raise ResourceExhausted("OVERLOADED", "there are too many watches; watch again a little later")
        self._watches += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            yield
        finally:
            self._watches -= 1

    async def _look(self) -> None:
        while self._watches:
            try:
                newest = await self._database.read(newest_numbers)
            except HutongError as error:
                _log.warning("notifications cannot be read", reason=error.reason)
                newest = self._newest
            if newest != self._newest:
                self._newest = newest
                self._news.set()
                self._news = asyncio.Event()
            await asyncio.sleep(self._timing.notification_poll)

    async def _wait(self, region: str, seen: int) -> None:
        """Wait for a notification beyond what was seen, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GLANCE_SECONDS):
                while self._newest.get(region, 0) == seen:
                    await self._news.wait()
