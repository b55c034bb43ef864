"""Follows the nation's policies and floors at a province, by a watch. They stay while the nation is unavailable."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog
from hutong.policy.v1.policy_service_pb2 import WatchPoliciesRequest, WatchPoliciesResponse
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from prometheus_client import Gauge

from services.domain.errors import HutongError
from services.domain.instant import SECOND, from_timestamp
from services.domain.names import format_node
from services.domain.region import NATION
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.upstream.snapshot import SnapshotUpdate
from services.policy.upstream.store import ReceivedRevision, UpstreamPosition, UpstreamStore
from services.runtime.clock import Clock

SILENCE_SECONDS = 7.5
"""A watch that says nothing for longer stands in a broken connection: heartbeats come at least every five seconds."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
"""After failures, doubled from the first to the longest, and spread so that provinces do not come back as one."""
KEPT_EVERY_SECONDS = 10.0
"""How often a heartbeat's instant is written down when nothing else came."""
MAX_TOGETHER = 500
"""Revisions that one transaction takes in: as long others wait to publish."""

FOLLOWING = Gauge("hutong_policy_upstream_following", "Whether the nation's policies are being followed: 1 or 0")
LAG = Gauge(
    "hutong_policy_upstream_lag_seconds", "Age of the newest instant up to which the nation's policies are here"
)
DIFFERENCES = Gauge(
    "hutong_policy_upstream_differences", "National revisions that the nation tells otherwise than they are known here"
)

_FORGOTTEN = (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.INVALID_ARGUMENT)
"""The nation does not know the cursor: it was restored from a backup, or is another one. It tells everything again."""

_log = structlog.get_logger(__name__)


class NotTheNation(Exception):
    """The node that answers at the upstream address is not the national node."""


class UpstreamFollower:
    """Follows the national node's Policy for as long as the service runs.

    Each watch has a connection of its own, which ends with it: one that is half open is not used again.
    """

    def __init__(
        self, store: UpstreamStore, cache: PolicyBookCache, connect: Callable[[], grpc.aio.Channel], clock: Clock
    ) -> None:
        self._store = store
        self._cache = cache
        self._connect = connect
        self._clock = clock
        self._position: UpstreamPosition | None = None
        self._differing: set[str] = set()
        self._is_following = False
        self._failures = 0
        self._why = ""
        self._kept = 0.0
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Follow from now on, in the background."""
        LAG.set_function(self._lag)
        DIFFERENCES.set_function(lambda: len(self._differing))
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def end(self) -> None:
        """Stop following; what has come stays."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _lag(self) -> float:
        as_of = self._cache.nation_as_of
        return float("nan") if as_of is None else (self._clock.now() - as_of) / SECOND

    async def _follow(self) -> None:
        while True:
            try:
                await self._watch()
            except grpc.aio.AioRpcError as error:
                if error.code() in _FORGOTTEN and self._position is not None:
                    self._position = self._position._replace(cursor="")
                self._disconnected(error.code().name, error.details() or "")
            except HutongError as error:
                self._disconnected(error.reason, error.message)
            except (TimeoutError, NotTheNation) as error:
                self._disconnected(type(error).__name__, str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may do
                _log.exception("what the nation told was not taken in")
                self._disconnected(type(error).__name__, "")
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10))
            await asyncio.sleep(random.uniform(FIRST_PAUSE_SECONDS / 2, longest))  # noqa: S311 - guards nothing

    def _disconnected(self, why: str, text: str) -> None:
        if why != self._why:
            _log.warning("the nation's policies are not followed", why=why, text=text)
        self._why = why
        self._failures += 1
        self._is_following = False
        FOLLOWING.set(0)

    async def _watch(self) -> None:
        """One watch, from where this process stands or an earlier one stood, until it ends."""
        if self._position is None:
            self._position = await self._store.read_position()
            if self._position is not None:
                await self._cache.refresh(self._position.as_of_time)
        cursor = self._position.cursor if self._position is not None else ""
        update = SnapshotUpdate(is_whole=not cursor)
        async with self._connect() as channel:
            call = PolicyServiceStub(channel).WatchPolicies(WatchPoliciesRequest(cursor=cursor), wait_for_ready=True)
            while True:
                message = await _read(call, channel)
                if message.HasField("event"):
                    update.add(message.event.policy)
                else:
                    await self._apply(update, message)
                    update = SnapshotUpdate(is_whole=False)

    async def _apply(self, update: SnapshotUpdate, message: WatchPoliciesResponse) -> None:
        """Store what was received up to a checkpoint: it is durable before it is in the cache."""
        checkpoint = message.checkpoint
        if checkpoint.node != format_node(NATION):
            raise NotTheNation(f"HUTONG_UPSTREAM_POLICY leads to {checkpoint.node or 'another service'}")
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
            self._is_following, self._failures, self._why = True, 0, ""
            FOLLOWING.set(1)

    def _is_keeping_due(self) -> bool:
        return asyncio.get_running_loop().time() - self._kept >= KEPT_EVERY_SECONDS

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


async def _read(call: Any, channel: grpc.aio.Channel) -> WatchPoliciesResponse:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            message = await call.read()
    except TimeoutError:
        is_connected = channel.get_state() == grpc.ChannelConnectivity.READY
        raise TimeoutError("nothing is told" if is_connected else "no connection") from None
    if not isinstance(message, WatchPoliciesResponse):
        # Ended without a word, which no server does.
        raise TimeoutError("the watch ended")
    return message
