"""The listener for notifications of the node above.

The position is stored in one transaction with the changes, so a crash of either node loses nothing. If the node above
no longer knows the position, or that of a subscription, this node subscribes again to every subject to which it has
subscribed, and reads the subjects' results again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import grpc
import structlog
from hutong.exchange.v1.exchange_service_pb2 import WatchNotificationsRequest, WatchNotificationsResponse
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from hutong.exchange.v1.replica_pb2 import ReplicatedChange
from prometheus_client import Gauge

from services.domain.capabilities import OWN
from services.domain.errors import HutongError
from services.domain.instant import from_timestamp, to_timestamp
from services.domain.names import format_node
from services.domain.subject import Pepper
from services.results.documents.model import DocumentLink
from services.results.exchange.convert.changes import change_from_proto
from services.results.exchange.convert.positions import subscription_position_to_proto
from services.results.exchange.model import AdverseSubject, Change, NotificationPosition, StoredPosition
from services.results.exchange.upstream.notification_store import NotificationStore
from services.results.exchange.upstream.subscription_client import (
    MAX_SUBSCRIBED,
    SubscribedSubject,
    SubscriptionClient,
    positions_of,
)
from services.results.timing import ResultsTiming
from services.runtime.client.reconnect import reconnect_forever
from services.runtime.client.reconnecting import OpenChannel
from services.storage.pepper_marks import name_versions

LISTENING = Gauge("hutong_exchange_listening", "Whether the notifications of the node above are received: 1 or 0")
# The value until a listener runs. A node without a node above it keeps this value, because it gets no notifications.
LISTENING.set(math.nan)

_log = structlog.get_logger(__name__)


class NotificationListener:
    """Watches the notifications of the node above, and stores the changes that they contain."""

    def __init__(
        self,
        store: NotificationStore,
        open_channel: OpenChannel,
        subscriptions: SubscriptionClient,
        jurisdiction: str,
        pepper: Pepper,
        timing: ResultsTiming,
    ) -> None:
        self._store = store
        self._open_channel = open_channel
        self._subscriptions = subscriptions
        self._region = jurisdiction
        self._node = format_node(jurisdiction)
        self._pepper = pepper
        self._timing = timing
        self._is_listening = False
        self._last_failure = ""

    async def run(self) -> None:
        """Watch until cancelled. A background job."""
        LISTENING.set(0)
        await reconnect_forever(self._listen, self._report_failure, self._timing.listener_backoff)

    def _report_failure(self, why: str, text: str) -> None:
        if self._is_listening or not self._last_failure:
            _log.warning("the nation's notifications are not received", why=why, text=text)
        self._last_failure = why
        self._is_listening = False
        LISTENING.set(0)

    async def _listen(self) -> None:
        """Run one watch from this node's position until it ends. Resubscribe if a position is unknown."""
        position = await self._store.read_position()
        if position is None:
            await self._resubscribe(None, ())
            position = NotificationPosition(0, None)
        stated = await self._store.list_stated()
        try:
            await self._watch(position, stated)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.OUT_OF_RANGE:
                raise
            # If the stored position differs, another process of this node has moved it. The node above may know the
            # stored position, although the position of this watch is too old. The same holds if another process has
            # deleted the position of a subscription.
            is_moved = (await self._store.read_position() or NotificationPosition(0, None)) != position
            left = {one.position.life for one in await self._store.list_stated()}
            if not is_moved and left.issuperset(one.position.life for one in stated):
                _log.warning("the nation does not know this node's position; subscribing to every subject again")
                await self._resubscribe(position, stated)

    async def _resubscribe(self, position: NotificationPosition | None, stated: Sequence[StoredPosition]) -> None:
        after = b""
        while keys := await self._store.list_subscribed(after, MAX_SUBSCRIBED):
            # A node above that was restored may have lost its own subscriptions, so the call renews those too.
            for subscribed in await self._subscriptions.subscribe_each(keys, nationwide=True):
                changes: list[Change] = [*subscribed.links, *subscribed.replicas]
                await self._store.apply(changes, None, (), subscribed.positions)
            after = keys[-1]
        await self._store.restart(position, stated)

    async def _watch(self, position: NotificationPosition, stated: Sequence[StoredPosition]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timing.listener_renewal
        request = WatchNotificationsRequest(node=self._node, cursor=position.number, capabilities=OWN)
        name_versions(request, self._pepper)
        if position.commit_time is not None:
            request.commit_time.CopyFrom(to_timestamp(position.commit_time))
        request.subscription_positions.extend(subscription_position_to_proto(one.position) for one in stated)
        # If the node above knows these, it also knows them as long as it knows the cursor.
        passed = [one for one in stated if one.position.number <= position.number]
        # Each watch has its own connection, so that a half-open connection is closed with its watch.
        async with self._open_channel() as channel:
            call = ExchangeServiceStub(channel).WatchNotifications(request)
            while loop.time() < until:
                async with asyncio.timeout(self._timing.listener_silence):
                    message = await call.read()
                if not isinstance(message, WatchNotificationsResponse):
                    # The stream ended without an error, which no server of this contract does.
                    raise TimeoutError("the watch ended")
                if not self._is_listening:
                    _log.info("the nation's notifications are received")
                    self._is_listening = True
                LISTENING.set(1)
                if passed:
                    await self._store.forget_stated(passed)
                    passed = []
                position = await self._apply(message, position)

    async def _apply(self, message: WatchNotificationsResponse, position: NotificationPosition) -> NotificationPosition:
        """Store the changes of a message, and return the position after the message."""
        moved = message.cursor != position.number
        if moved:
            commit_time = from_timestamp(message.commit_time) if message.HasField("commit_time") else None
            position = NotificationPosition(message.cursor, commit_time)
        if moved or message.changes:
            changes = _known_changes(message.changes)
            subscribed = await self._subscribe_further(changes)
            for subject in subscribed:
                changes += [*subject.links, *subject.replicas]
            keys = [key for subject in subscribed for key in subject.subject_keys]
            await self._store.apply(changes, position if moved else None, keys, positions_of(subscribed))
        return position

    async def _subscribe_further(self, changes: Sequence[Change]) -> list[SubscribedSubject]:
        """Subscribe to adverse subjects, and to documents that were linked to a subscribed subject."""
        keys = (_key_to_subscribe(change, self._region) for change in changes)
        # Many links of one document may come at once, and each answer has all links of its subject.
        further = list(dict.fromkeys(key for key in keys if key))
        return [
            subscribed
            for start in range(0, len(further), MAX_SUBSCRIBED)
            for subscribed in await self._subscriptions.subscribe_each(further[start : start + MAX_SUBSCRIBED])
        ]


def _key_to_subscribe(change: Change, region: str) -> bytes | None:
    if isinstance(change, AdverseSubject):
        return change.subject_key
    if isinstance(change, DocumentLink) and change.unlink_time is None:
        if change.source_node == region and change.unlink_node is not None:
            return None
        return change.document.subject_key
    return None


def _known_changes(messages: Sequence[ReplicatedChange]) -> list[Change]:
    """Return the changes. Malformed changes, and changes of kinds that this version does not know, are left out."""
    changes = []
    for message in messages:
        try:
            if message.WhichOneof("change") is not None:
                changes.append(change_from_proto(message))
        except HutongError as error:
            _log.error("the nation sent a malformed change", reason=error.reason, fault=error.message)
    return changes
