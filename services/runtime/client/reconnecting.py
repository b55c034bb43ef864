"""A stub with its own connection. A new connection replaces a dead one.

gRPC keepalive notices a half-open connection too late. Until then every new call on that channel hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

import grpc

from services.runtime.client.channels import Connector

GRACE_SECONDS = 5.0
"""For how many seconds calls on a replaced connection may still be answered. No caller waits longer for such a call."""

OpenChannel: TypeAlias = Callable[[], grpc.aio.Channel]
"""Opens a channel with its own connection."""

Stub = TypeVar("Stub")


class ReconnectingStub(Generic[Stub]):
    """The stub for calls on a channel. The channel can be replaced while it is in use.

    A channel keeps the keys and authorities with which it was opened. If a Connector opens the channel, the channel is
    therefore also replaced when keys or authorities have changed.
    """

    def __init__(self, open_channel: OpenChannel, make_stub: Callable[[grpc.aio.Channel], Stub]) -> None:
        self._open_channel = open_channel
        self._make_stub = make_stub
        self._revision = self._newest_revision()
        self._channel = open_channel()
        self._stub = make_stub(self._channel)
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def stub(self) -> Stub:
        """The stub for new calls. It is another stub once the connection was replaced."""
        if self._newest_revision() != self._revision:
            self._replace()
        return self._stub

    def _newest_revision(self) -> object:
        return self._open_channel.revision() if isinstance(self._open_channel, Connector) else None

    def renew(self, silent: Stub) -> None:
        """Replace the connection, because calls on it hang.

        `silent` is the stub that made those calls. If another call has replaced the connection already, nothing
        happens. Nothing happens either while the channel is still connecting, because a new channel would have to begin
        again.
        """
        if self._stub is silent and self._channel.get_state() is grpc.ChannelConnectivity.READY:
            self._replace()

    def revive(self) -> None:
        """Let the channel connect at once instead of waiting before its next attempt.

        Call this when the service is up.
        """
        if self._channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            self._replace()

    def _replace(self) -> None:
        self._revision = self._newest_revision()
        old, self._channel = self._channel, self._open_channel()
        self._stub = self._make_stub(self._channel)
        closing = asyncio.get_running_loop().create_task(old.close(GRACE_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close the channel and cancel the calls under way."""
        for closing in list(self._closing):
            closing.cancel()
        await asyncio.gather(self._channel.close(), *self._closing, return_exceptions=True)
