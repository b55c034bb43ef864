"""A province's listener: watches the nation's notifications for as long as the service runs.

The position is stored with the changes, so a crash of either side costs nothing. When the nation no longer knows the
position, the province subscribes again to every subject whose results it has taken in, and reads them anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence

import grpc
import structlog
from hutong.exchange.v1.exchange_service_pb2 import WatchNotificationsRequest, WatchNotificationsResponse
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from hutong.exchange.v1.replica_pb2 import ReplicatedChange
from prometheus_client import Gauge

from services.domain.errors import HutongError
from services.domain.instant import from_timestamp, to_timestamp
from services.domain.names import format_node
from services.domain.subject import Pepper
from services.results.documents.model import DocumentLink
from services.results.exchange.convert import change_from_proto
from services.results.exchange.model import Change, NotificationPosition
from services.results.exchange.upstream.notification_store import NotificationStore
from services.results.exchange.upstream.subscription_client import MAX_SUBSCRIBED, SubscriptionClient
from services.results.records.pepper_check import pepper_mark
from services.runtime.client.reconnecting import OpenChannel

SILENCE_SECONDS = 15.0
"""A watch that says nothing for longer is given up: heartbeats come at least every five seconds."""
RENEWAL_SECONDS = 600.0
"""How long one watch is kept: by the position that the next one begins with the nation knows what it may forget."""
FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 2.0
"""After failures, doubled from the first to the longest, and spread so that provinces do not come back as one."""

LISTENING = Gauge("hutong_exchange_listening", "Whether the nation's notifications are being heard: 1 or 0")

_log = structlog.get_logger(__name__)


class NotificationListener:
    """Watches WatchNotifications."""

    def __init__(
        self,
        store: NotificationStore,
        open_channel: OpenChannel,
        gateway: SubscriptionClient,
        jurisdiction: str,
        pepper: Pepper,
    ) -> None:
        self._store = store
        self._open_channel = open_channel
        self._gateway = gateway
        self._node = format_node(jurisdiction)
        self._mark = pepper_mark(pepper)
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    def begin(self) -> None:
        """Begin, without waiting."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def end(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except grpc.aio.AioRpcError as error:
                self._lapse(error.code().name)
            except TimeoutError:
                self._lapse("silent")
            except HutongError as error:
                self._lapse(error.reason)
            except Exception:  # noqa: BLE001 - whatever it is, the next try may do
                _log.exception("what the nation told was not taken in")
                self._lapse("failure")
            if self._failures:
                longest = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self._failures, 10))
                await asyncio.sleep(random.uniform(FIRST_RETRY_SECONDS / 2, longest))  # noqa: S311 - no secret

    def _lapse(self, why: str) -> None:
        if not self._failures:
            _log.warning("the nation is not heard", why=why)
        self._failures += 1
        LISTENING.set(0)

    async def _listen(self) -> None:
        """One watch, from where this node stands to its end."""
        position = await self._store.read_position()
        if position is None:
            await self._begin_anew(None)
            position = NotificationPosition(0, None)
        try:
            await self._watch(position)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.OUT_OF_RANGE:
                raise
            # Unless another process of this node was told meanwhile, and this one's position was forgotten for that.
            if position == await self._store.read_position():
                _log.warning("the nation does not know this node's position; subscribing to every subject again")
                await self._begin_anew(position)

    async def _begin_anew(self, position: NotificationPosition | None) -> None:
        after = b""
        while keys := await self._store.list_subscribed(after, MAX_SUBSCRIBED):
            for subscribed in await self._gateway.subscribe_each(keys):
                await self._store.take([*subscribed.links, *subscribed.replicas])
            after = keys[-1]
        await self._store.begin_anew(position)

    async def _watch(self, position: NotificationPosition) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + RENEWAL_SECONDS
        request = WatchNotificationsRequest(node=self._node, cursor=position.number, pepper_mark=self._mark)
        if position.commit_time is not None:
            request.commit_time.CopyFrom(to_timestamp(position.commit_time))
        # A connection for each watch: one that has become half open is left with it.
        async with self._open_channel() as channel:
            call = ExchangeServiceStub(channel).WatchNotifications(request)
            while loop.time() < until:
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = await call.read()
                if not isinstance(message, WatchNotificationsResponse):
                    # Ended without a word, which no server does.
                    raise TimeoutError
                if self._failures:
                    _log.info("the nation is heard again")
                    self._failures = 0
                LISTENING.set(1)
                position = await self._take(message, position)

    async def _take(self, message: WatchNotificationsResponse, position: NotificationPosition) -> NotificationPosition:
        """What a message tells, and the position after it."""
        moved = message.cursor != position.number
        if moved:
            commit_time = from_timestamp(message.commit_time) if message.HasField("commit_time") else None
            position = NotificationPosition(message.cursor, commit_time)
        if moved or message.changes:
            changes = _understood(message.changes)
            changes += await self._subscribe_tied(changes)
            await self._store.take(changes, position if moved else None)
        return position

    async def _subscribe_tied(self, changes: Sequence[Change]) -> list[Change]:
        """What is known by documents newly tied to those of a subscribed subject: they are subscribed to as well."""
        tied = [
            change.document.subject_key
            for change in changes
            if isinstance(change, DocumentLink) and change.unlink_time is None
        ]
        found: list[Change] = []
        for start in range(0, len(tied), MAX_SUBSCRIBED):
            for subscribed in await self._gateway.subscribe_each(tied[start : start + MAX_SUBSCRIBED]):
                found += [*subscribed.links, *subscribed.replicas]
        return found


def _understood(messages: Sequence[ReplicatedChange]) -> list[Change]:
    """The changes but for those that this version knows nothing of."""
    changes = []
    for message in messages:
        try:
            if message.WhichOneof("change") is not None:
                changes.append(change_from_proto(message))
        except HutongError as error:
            _log.error("the nation told what cannot be", reason=error.reason, fault=error.message)
    return changes
