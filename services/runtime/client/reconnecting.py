"""The line to a service of somebody who calls it: a connection of its own, exchanged for a new one when it is dead.

One that carries nothing any more and tells neither side is not found out by gRPC's keepalive in reasonable time, and
every new call on the same channel would go into the same silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

import grpc

GRACE_SECONDS = 5.0
"""How long calls on a line that was given up may still be answered: as long as any of them waits."""

OpenChannel: TypeAlias = Callable[[], grpc.aio.Channel]
"""Opens a channel with a connection of its own."""

Stub = TypeVar("Stub")


class Line(Generic[Stub]):
    """A channel that can be exchanged under its user, and the stub for calls by it."""

    def __init__(self, open_channel: OpenChannel, make_stub: Callable[[grpc.aio.Channel], Stub]) -> None:
        self._open_channel = open_channel
        self._make_stub = make_stub
        self._channel = open_channel()
        self.stub = make_stub(self._channel)
        self._closing: set[asyncio.Task[None]] = set()

    def renew(self, silent: Stub) -> None:
        """Call by a new connection from now on, once for all calls by one that went into silence.

        `silent` is the stub they were made by: another call may have given it up already, and what came in its place
        is whole. A line that is not connected yet is left to try: a new one would have to begin anew.
        """
        if self.stub is silent and self._channel.get_state() is grpc.ChannelConnectivity.READY:
            self._exchange()

    def revive(self) -> None:
        """The service is known to be there: a line that waits before it tries again tries at once, by a new one."""
        if self._channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            self._exchange()

    def _exchange(self) -> None:
        old, self._channel = self._channel, self._open_channel()
        self.stub = self._make_stub(self._channel)
        closing = asyncio.get_running_loop().create_task(old.close(GRACE_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Give up what is under way."""
        for closing in list(self._closing):
            closing.cancel()
        await asyncio.gather(self._channel.close(), *self._closing, return_exceptions=True)
