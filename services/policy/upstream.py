"""A province follows the nation: its policies and floors come by its watch, and stay when it is away."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import grpc
import structlog
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_service_pb2 import WatchPoliciesRequest, WatchPoliciesResponse
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from prometheus_client import Gauge

from services.domain.errors import HutongError
from services.domain.instant import SECOND, Instant, from_timestamp
from services.domain.names import parse_policy
from services.domain.region import NATION
from services.policy.convert import bare_statement, content_hash, told_revision
from services.policy.shelf import Shelf
from services.policy.store import Received, Store, UpstreamPlace
from services.runtime.clock import Clock

if TYPE_CHECKING:
    from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceAsyncStub

SILENCE_SECONDS = 7.5
"""A watch that says nothing for longer stands in a broken connection: heartbeats come at least every five seconds."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 3.0
KEPT_EVERY_SECONDS = 10.0
"""How often a heartbeat's instant is written down when nothing else came."""
MAX_TOGETHER = 500
"""Revisions of a snapshot that one transaction takes in."""

LAG = Gauge(
    "hutong_policy_upstream_lag_seconds", "Age of the newest instant up to which the nation's policies are here"
)

_log = structlog.get_logger(__name__)


class Upstream:
    """Follows the national node's Policy for as long as the service runs.

    Attributes:
        as_of_time: everything the nation published up to this instant, by its clock, is on the shelf; None before the
            first word of it.
    """

    def __init__(self, store: Store, shelf: Shelf, channel: grpc.aio.Channel, clock: Clock) -> None:
        self._store = store
        self._shelf = shelf
        self._stub: PolicyServiceAsyncStub = PolicyServiceStub(channel)
        self._clock = clock
        self._cursor = ""
        self._opened = False
        self._task: asyncio.Task[None] | None = None
        self.as_of_time: Instant | None = None

    def begin(self) -> None:
        """Follow from now on, in the background."""
        LAG.set_function(self._lag)
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def end(self) -> None:
        """Stop following; what has come stays."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _lag(self) -> float:
        return float("nan") if self.as_of_time is None else (self._clock.now() - self.as_of_time) / SECOND

    async def _follow(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        told = False
        while True:
            began = asyncio.get_running_loop().time()
            why = "ended"
            try:
                await self._open()
                await self._watch()
            except grpc.aio.AioRpcError as error:
                why = error.code().name
                if error.code() == grpc.StatusCode.OUT_OF_RANGE:
                    # The nation began anew, or was restored from an older copy: it tells everything again.
                    self._cursor = ""
            except HutongError as error:
                why = error.reason
            except TimeoutError:
                why = "silent"
            lasted = asyncio.get_running_loop().time() - began
            if lasted > LONGEST_PAUSE_SECONDS or not told:
                _log.warning("the nation's policies are not followed", why=why)
                told = True
            pause = FIRST_PAUSE_SECONDS if lasted > LONGEST_PAUSE_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads provinces, guards nothing

    async def _open(self) -> None:
        """Read where an earlier process stood."""
        if not self._opened:
            place = await self._store.read_upstream()
            if place is not None:
                self._cursor, self.as_of_time = place
            self._opened = True

    async def _watch(self) -> None:
        """One watch, until it ends."""
        call = self._stub.WatchPolicies(WatchPoliciesRequest(cursor=self._cursor))
        came: list[Received] = []
        kept = 0.0
        try:
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = await call.read()
                if not isinstance(message, WatchPoliciesResponse):
                    return
                if message.HasField("policy"):
                    came += _of_the_nation(message.policy)
                    if len(came) >= MAX_TOGETHER:
                        # The cursor stays: of a snapshot it says nothing before its end.
                        await self._take_in(came, UpstreamPlace(self._cursor, self.as_of_time or 0))
                        came = []
                    continue
                as_of_time = from_timestamp(message.checkpoint.as_of_time)
                now = asyncio.get_running_loop().time()
                if came or message.cursor != self._cursor or now - kept >= KEPT_EVERY_SECONDS:
                    await self._take_in(came, UpstreamPlace(message.cursor, as_of_time))
                    came, kept = [], now
                if self.as_of_time is None:
                    _log.info("the nation's policies are followed", cursor=message.cursor)
                self._cursor, self.as_of_time = message.cursor, as_of_time
        finally:
            call.cancel()

    async def _take_in(self, came: list[Received], place: UpstreamPlace) -> None:
        refused = await self._store.receive(came, place, self._clock.now())
        for name in refused:
            _log.error("the nation tells another content of a revision that is here; the known one stands", policy=name)
        if came:
            await self._shelf.refresh()


def _of_the_nation(policy: policy_pb2.Policy) -> list[Received]:
    """The revision, if the nation published it for the whole country, and it is what its hash says."""
    if parse_policy(policy.name)[0] != NATION:
        return []
    statement = bare_statement(policy)
    if content_hash(statement) != policy.content_hash:
        _log.error("a policy of the nation is not what its hash says; it is left out", policy=policy.name)
        return []
    return [Received(told_revision(policy, statement), statement)]
