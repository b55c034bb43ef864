"""Watches Policy and reports each jurisdiction whose policies changed. It also tells whether the watch works now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from hutong.policy.v1.policy_service_pb2 import WatchPoliciesRequest, WatchPoliciesResponse
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub

from services.domain.instant import Instant, from_timestamp
from services.domain.names import parse_policy
from services.runtime.client.reconnect import Backoff, reconnect_forever
from services.runtime.client.reconnecting import OpenChannel
from services.verification.sources.timing import SourceTiming

_log = structlog.get_logger(__name__)


class PolicyWatch:
    """Keeps one WatchPolicies call open as long as the service runs.

    Attributes:
        epoch: counts how often changes may have been missed. Changes to answers of older epochs may go unreported.
        change_count: how many changes have been reported.
        as_of_time: everything published up to this instant has been reported.
        sequence: how many publications and withdrawals Policy had sent at that instant.
    """

    def __init__(
        self,
        open_channel: OpenChannel,
        drop: Callable[[str], None],
        on_connected: Callable[[], None],
        timing: SourceTiming,
    ) -> None:
        """`drop` is called with the jurisdiction of each change, `on_connected` when the watch becomes live again."""
        self._timing = timing
        self._open_channel = open_channel
        self._drop = drop
        self._on_connected = on_connected
        self._live_until = 0.0
        self._cursor = ""
        self.epoch = 0
        self.change_count = 0
        self.as_of_time: Instant = 0
        self.sequence = 0

    @property
    def is_live(self) -> bool:
        """Whether the watch would report a change now."""
        return asyncio.get_running_loop().time() < self._live_until

    async def run(self) -> None:
        """Watch until cancelled."""
        await reconnect_forever(
            self._watch, self._on_disconnect, Backoff(self._timing.retry_seconds, self._timing.retry_seconds)
        )

    def _on_disconnect(self, cause: str, text: str) -> None:
        if cause == "OUT_OF_RANGE":
            self._cursor = ""
        if self._live_until:
            _log.warning("policy watch disconnected", why=cause, text=text)
        self._live_until = 0.0

    async def _watch(self) -> None:
        """Open one watch and read it until it ends.

        Each watch has its own connection and closes it at its end, so that a half-open connection is never used again.
        """
        in_snapshot = not self._cursor
        async with self._open_channel() as channel:
            call = PolicyServiceStub(channel).WatchPolicies(WatchPoliciesRequest(cursor=self._cursor))
            while True:
                async with asyncio.timeout(self._timing.silence_seconds):
                    message = await call.read()
                if not isinstance(message, WatchPoliciesResponse):
                    # The stream ended without a status, although every server sends one.
                    raise TimeoutError("the watch ended")
                if message.HasField("checkpoint"):
                    if in_snapshot:
                        in_snapshot = False
                        self.epoch += 1
                    self.as_of_time = from_timestamp(message.checkpoint.as_of_time)
                    self.sequence = message.checkpoint.sequence
                    if not self.is_live:
                        self._on_connected()
                    self._live_until = asyncio.get_running_loop().time() + self._timing.silence_seconds
                elif not in_snapshot:
                    self.change_count += 1
                    self._drop(parse_policy(message.event.policy.name)[0])
                if not in_snapshot:
                    self._cursor = message.cursor
