"""Watches the policies and floors of the nodes above. While the node above is unavailable, stored copies apply.

A node in the middle sends what it has of the nodes above it. The nation's floors therefore reach every node. The watch
also brings policies of this node's own region: those that stood at the node above when this node was founded, and those
that this node has lost by a restore.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog
from hutong.policy.v1.policy_service_pb2 import PolicyCheckpoint, WatchPoliciesRequest, WatchPoliciesResponse
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from hutong_texts import english
from prometheus_client import Gauge

from services.domain.errors import FailedPrecondition
from services.domain.instant import SECOND, Instant, from_timestamp
from services.domain.names import format_node
from services.domain.region import NATION, ancestry
from services.policy.received import ReceivedRevision
from services.policy.serving.book_cache import UNKNOWN_EXTENT, PolicyBookCache
from services.policy.timing import PolicyTiming
from services.policy.upstream.snapshot import SnapshotUpdate
from services.policy.upstream.store import UpstreamPosition, UpstreamStore
from services.runtime.client.reconnect import reconnect_forever
from services.runtime.clock import Clock

WATCHED = Gauge("hutong_policy_upstream_watched", "Whether the nation's policies are being watched: 1 or 0")
# The gauge is NaN until a watch runs. A node without a node above never runs one.
WATCHED.set(math.nan)
LAG = Gauge(
    "hutong_policy_upstream_lag_seconds", "Age of the newest instant up to which the nation's policies are here"
)
DIFFERENCES = Gauge(
    "hutong_policy_upstream_differences", "National revisions that the nation sends differently than they are stored"
)

_CURSOR_REFUSED = (grpc.StatusCode.OUT_OF_RANGE.name, grpc.StatusCode.INVALID_ARGUMENT.name)
"""Codes for a cursor that the node above does not know. It may have been restored from a backup, or another node may
answer in its place now.

The next watch begins without a cursor and receives everything again.
"""

_log = structlog.get_logger(__name__)


class UpstreamWatch:
    """Watches the Policy of the node above as long as the service runs.

    Each watch opens its own connection and closes it at the end. A half-open connection is therefore never used again.
    """

    def __init__(
        self,
        store: UpstreamStore,
        cache: PolicyBookCache,
        connect: Callable[[], grpc.aio.Channel],
        clock: Clock,
        timing: PolicyTiming,
        jurisdiction: str,
    ) -> None:
        self._jurisdiction = jurisdiction
        self._timing = timing
        self._store = store
        self._cache = cache
        self._connect = connect
        self._clock = clock
        self._position: UpstreamPosition | None = None
        self._restoring = asyncio.Lock()
        self._differing: set[str] = set()
        self._is_watching = False
        self._cause = ""
        self._stored_at = 0.0
        self._reached = 0
        self._advanced = asyncio.Condition()

    async def run(self) -> None:
        """Watch until cancelled. A background job."""
        LAG.set_function(self._lag)
        WATCHED.set(0)
        DIFFERENCES.set_function(lambda: len(self._differing))
        await reconnect_forever(self._watch, self._on_disconnect, self._timing.backoff)

    async def restore(self) -> None:
        """Read the position that an earlier process of this node stored.

        Even the first answers then state up to when the policies of the nodes above are known.
        """
        async with self._restoring:
            if self._position is None:
                self._position = await self._store.read_position()
                if self._position is not None:
                    await self._cache.refresh(self._position.as_of_time, self._position.lives)

    async def wait_reached(self, sequence: int) -> None:
        """Wait until the running watch has stored all changes of the node above up to a sequence."""
        async with self._advanced:
            await self._advanced.wait_for(lambda: self._is_watching and self._reached >= sequence)

    def _lag(self) -> float:
        as_of = self._cache.nation_as_of
        return float("nan") if not as_of else (self._clock.now() - as_of) / SECOND

    def _on_disconnect(self, cause: str, text: str) -> None:
        if cause in _CURSOR_REFUSED and self._position is not None:
            self._position = self._position._replace(cursor="")
        if cause != self._cause:
            _log.warning("the nation's policies are not watched", why=cause, text=text)
        self._cause = cause
        self._is_watching = False
        WATCHED.set(0)

    async def _watch(self) -> None:
        """Open one watch from the last position, and read it until it ends."""
        await self.restore()
        cursor = self._position.cursor if self._position is not None else ""
        update = SnapshotUpdate(self._jurisdiction, is_whole=not cursor)
        async with self._connect() as channel:
            call = PolicyServiceStub(channel).WatchPolicies(WatchPoliciesRequest(cursor=cursor), wait_for_ready=True)
            while True:
                message = await self._read(call, channel)
                if message.HasField("event"):
                    update.add(message.event.policy)
                else:
                    await self._apply(update, message)
                    update = SnapshotUpdate(self._jurisdiction, is_whole=False)

    async def _apply(self, update: SnapshotUpdate, message: WatchPoliciesResponse) -> None:
        """Store what was received up to a checkpoint. It is durable before it is in the cache."""
        checkpoint = message.checkpoint
        above = {format_node(region): region for region in ancestry(self._jurisdiction)[1:]}
        if checkpoint.node not in above:
            raise FailedPrecondition(
                "NOT_AN_UPSTREAM",
                english("HUTONG_UPSTREAM_POLICY leads to {value}", value=checkpoint.node or english("another service")),
            )
        lives = dict(self._position.lives) if self._position is not None else {}
        lives |= {(above[checkpoint.node], one.life): one.sequence for one in checkpoint.lives}
        lives |= {
            (above[one.node], one.position.life): one.position.sequence
            for one in checkpoint.other_lives
            if one.node in above
        }
        position = UpstreamPosition(message.cursor, _known_up_to(checkpoint), lives)
        if update.is_whole:
            self._differing.clear()
            self._record_differences(
                update.missing(self._cache.book), "the nation no longer sends a policy; the stored one stands"
            )
        self._record_differences(update.left_out, "a policy of the nation is not valid here; it is left out")
        if (
            update.received
            or self._position is None
            or position.cursor != self._position.cursor
            or position.lives != self._position.lives
            or self._is_store_due()
        ):
            await self._store_update(update.received, position)
            await self._cache.refresh(position.as_of_time, position.lives)
        else:
            self._cache.nation_as_of = position.as_of_time
        self._position = position
        self._reached = checkpoint.sequence
        if not self._is_watching:
            _log.info("the nation's policies are watched", cursor=position.cursor)
            self._is_watching, self._cause = True, ""
            WATCHED.set(1)
        async with self._advanced:
            self._advanced.notify_all()

    def _is_store_due(self) -> bool:
        return asyncio.get_running_loop().time() - self._stored_at >= self._timing.position_store_seconds

    async def _store_update(self, received: Sequence[ReceivedRevision], position: UpstreamPosition) -> None:
        """Store revisions in batches, and the position with the last batch.

        While any revision differs, the position is stored without its cursor. The next process then receives everything
        again and finds the differences again.
        """
        for start in range(0, len(received) or 1, self._timing.revisions_per_write):
            batch = received[start : start + self._timing.revisions_per_write]
            is_last = start + self._timing.revisions_per_write >= len(received)
            stored = position._replace(cursor="") if self._differing else position
            differing = await self._store.receive(batch, stored if is_last else None, self._clock.now())
            self._differing.difference_update(one.revision.name for one in batch)
            self._record_differences(
                differing, "the nation sends a policy differently than it is stored; the stored one stands"
            )
        self._stored_at = asyncio.get_running_loop().time()

    def _record_differences(self, names: Sequence[str], event: str) -> None:
        for name in names:
            _log.error(event, policy=name)
        self._differing.update(names)

    async def _read(self, call: Any, channel: grpc.aio.Channel) -> WatchPoliciesResponse:
        try:
            async with asyncio.timeout(self._timing.silence_seconds):
                message = await call.read()
        except TimeoutError:
            is_connected = channel.get_state() == grpc.ChannelConnectivity.READY
            raise TimeoutError("no message in time" if is_connected else "no connection") from None
        if not isinstance(message, WatchPoliciesResponse):
            # The stream has ended without a status, which no server does.
            raise TimeoutError("the watch ended")
        return message


def _known_up_to(checkpoint: PolicyCheckpoint) -> Instant:
    """Return the instant up to which everything that the nodes above have published has been sent."""
    as_of = from_timestamp(checkpoint.as_of_time)
    if checkpoint.node == format_node(NATION):
        return as_of
    if not checkpoint.HasField("nation_as_of_time"):
        return UNKNOWN_EXTENT
    return min(as_of, from_timestamp(checkpoint.nation_as_of_time))
