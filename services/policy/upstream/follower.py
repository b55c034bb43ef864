"""Follows the nation's policies and floors at a province, by a watch. They stay while the nation is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog
from hutong.policy.v1.policy_service_pb2 import WatchPoliciesRequest, WatchPoliciesResponse
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from prometheus_client import Gauge

from services.domain.errors import FailedPrecondition
from services.domain.instant import SECOND, from_timestamp
from services.domain.names import format_node
from services.domain.region import NATION
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.timing import PolicyTiming
from services.policy.upstream.snapshot import SnapshotUpdate
from services.policy.upstream.store import ReceivedRevision, UpstreamPosition, UpstreamStore
from services.runtime.client.reconnect import reconnect_forever
from services.runtime.clock import Clock

MAX_TOGETHER = 500
"""Revisions that one transaction takes in: as long others wait to publish."""

FOLLOWING = Gauge("hutong_policy_upstream_following", "Whether the nation's policies are being followed: 1 or 0")
LAG = Gauge(
    "hutong_policy_upstream_lag_seconds", "Age of the newest instant up to which the nation's policies are here"
)
DIFFERENCES = Gauge(
    "hutong_policy_upstream_differences", "National revisions that the nation tells otherwise than they are known here"
)

_FORGOTTEN = (grpc.StatusCode.OUT_OF_RANGE.name, grpc.StatusCode.INVALID_ARGUMENT.name)
"""The nation does not know the cursor: it was restored from a backup, or is another one. It tells everything again."""

_log = structlog.get_logger(__name__)


class UpstreamFollower:
    """Follows the national node's Policy for as long as the service runs.

    Each watch has a connection of its own, which ends with it: one that is half open is not used again.
    """

    def __init__(
        self,
        store: UpstreamStore,
        cache: PolicyBookCache,
        connect: Callable[[], grpc.aio.Channel],
        clock: Clock,
        timing: PolicyTiming,
    ) -> None:
        self._timing = timing
        self._store = store
        self._cache = cache
        self._connect = connect
        self._clock = clock
        self._position: UpstreamPosition | None = None
        self._restoring = asyncio.Lock()
        self._differing: set[str] = set()
        self._is_following = False
        self._why = ""
        self._kept = 0.0

    async def run(self) -> None:
        """Follow until cancelled; what has come stays. A background job."""
        LAG.set_function(self._lag)
        DIFFERENCES.set_function(lambda: len(self._differing))
        await reconnect_forever(self._watch, self._lost, self._timing.backoff)

    async def restore(self) -> None:
        """Stand where an earlier process of this province stood, so that answers say at once up to when they hold."""
        async with self._restoring:
            if self._position is None:
                self._position = await self._store.read_position()
                if self._position is not None:
                    await self._cache.refresh(self._position.as_of_time)

    def _lag(self) -> float:
        as_of = self._cache.nation_as_of
        return float("nan") if as_of is None else (self._clock.now() - as_of) / SECOND

    def _lost(self, why: str, text: str) -> None:
        if why in _FORGOTTEN and self._position is not None:
            self._position = self._position._replace(cursor="")
        if why != self._why:
            _log.warning("the nation's policies are not followed", why=why, text=text)
        self._why = why
        self._is_following = False
        FOLLOWING.set(0)

    async def _watch(self) -> None:
        """One watch, from where this process stands or an earlier one stood, until it ends."""
        await self.restore()
        cursor = self._position.cursor if self._position is not None else ""
        update = SnapshotUpdate(is_whole=not cursor)
        async with self._connect() as channel:
            call = PolicyServiceStub(channel).WatchPolicies(WatchPoliciesRequest(cursor=cursor), wait_for_ready=True)
            while True:
                message = await self._read(call, channel)
                if message.HasField("event"):
                    update.add(message.event.policy)
                else:
                    await self._apply(update, message)
                    update = SnapshotUpdate(is_whole=False)

    async def _apply(self, update: SnapshotUpdate, message: WatchPoliciesResponse) -> None:
        """Store what was received up to a checkpoint: it is durable before it is in the cache."""
        checkpoint = message.checkpoint
        if checkpoint.node != format_node(NATION):
            raise FailedPrecondition(
                "NOT_AN_UPSTREAM", f"HUTONG_UPSTREAM_POLICY leads to {checkpoint.node or 'another service'}"
            )
        position = UpstreamPosition(message.cursor, from_timestamp(checkpoint.as_of_time))
        if update.is_whole:
            self._differing.clear()
            self._differ(update.missing(self._cache.book), "the nation no longer tells of a policy; it stands")
        self._differ(update.left_out, "a policy of the nation is not understood; it is left out")
        if (
            update.received
            or self._position is None
            or position.cursor != self._position.cursor
            or self._is_keeping_due()
        ):
            await self._keep(update.received, position)
            await self._cache.refresh(position.as_of_time)
        else:
            self._cache.nation_as_of = position.as_of_time
        self._position = position
        if not self._is_following:
            _log.info("the nation's policies are followed", cursor=position.cursor)
            self._is_following, self._why = True, ""
            FOLLOWING.set(1)

    def _is_keeping_due(self) -> bool:
        return asyncio.get_running_loop().time() - self._kept >= self._timing.kept_every_seconds

    async def _keep(self, received: Sequence[ReceivedRevision], position: UpstreamPosition) -> None:
        """Store what received, and with the last of it the position: without its cursor as long as anything differs."""
        for start in range(0, len(received) or 1, MAX_TOGETHER):
            part = received[start : start + MAX_TOGETHER]
            is_last = start + MAX_TOGETHER >= len(received)
            kept = position._replace(cursor="") if self._differing else position
            differing = await self._store.receive(part, kept if is_last else None, self._clock.now())
            self._differing.difference_update(one.revision.name for one in part)
            self._differ(differing, "the nation tells a policy otherwise than it is known; the known one stands")
        self._kept = asyncio.get_running_loop().time()

    def _differ(self, names: Sequence[str], how: str) -> None:
        for name in names:
            _log.error(how, policy=name)
        self._differing.update(names)

    async def _read(self, call: Any, channel: grpc.aio.Channel) -> WatchPoliciesResponse:
        try:
            async with asyncio.timeout(self._timing.silence_seconds):
                message = await call.read()
        except TimeoutError:
            is_connected = channel.get_state() == grpc.ChannelConnectivity.READY
            raise TimeoutError("nothing is told" if is_connected else "no connection") from None
        if not isinstance(message, WatchPoliciesResponse):
            # Ended without a word, which no server does.
            raise TimeoutError("the watch ended")
        return message
