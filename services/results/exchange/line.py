"""The line to the nation of somebody who calls it: a connection of its own, given up for a new one when it is dead.

One that carries nothing any more and tells neither side is not found out by gRPC's keepalive in reasonable time, and
every new call on the same channel would go into the same silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import grpc
from hutong.results.v1.exchange_service_pb2_grpc import ExchangeServiceStub

if TYPE_CHECKING:
    from hutong.results.v1.exchange_service_pb2_grpc import ExchangeServiceAsyncStub

GRACE_SECONDS = 5.0
"""How long calls on a line that was given up may still be answered: longer than any of them waits."""

OpenChannel: TypeAlias = Callable[[], grpc.aio.Channel]
"""Opens a channel to the nation with a connection of its own."""


class Line:
    """A channel that can be exchanged under its user."""

    def __init__(self, open_channel: OpenChannel) -> None:
        self._open_channel = open_channel
        self._channel = open_channel()
        self.stub: ExchangeServiceAsyncStub = ExchangeServiceStub(self._channel)
        self._closing: set[asyncio.Task[None]] = set()

    def renew(self) -> None:
        """Call by a new connection from now on."""
        old, self._channel = self._channel, self._open_channel()
        self.stub = ExchangeServiceStub(self._channel)
        closing = asyncio.get_running_loop().create_task(old.close(GRACE_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Give up what is under way."""
        for closing in list(self._closing):
            closing.cancel()
        await asyncio.gather(self._channel.close(), *self._closing, return_exceptions=True)
