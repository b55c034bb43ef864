"""The messages between a parent and a worker, over a pair of sockets that both have from the worker's start.

When a process ends, its sockets close. The other side therefore notices the end at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from enum import IntEnum
from typing import NamedTuple

_HEADER_BYTES = 5
"""A header: the kind of the message in one byte, and the length of its body in four bytes."""
_MOST_WAITING = 64 * 1024 * 1024
"""The most bytes that may wait for a peer that does not read. Further messages are dropped, which bounds the memory."""


class Kind(IntEnum):
    """Kinds of messages.

    Attributes:
        SERVING: from a worker once it serves; the body is empty.
        HEALTH: from a worker, each second; "1" if the service is healthy.
        FAILED: from a worker that cannot start; its exit code, a space, and the reason in one line.
        ASK_METRICS: from the parent; the body is empty.
        METRICS: the worker's answer, as `dump_metrics` forms it.
        COUNTS: counts of callers (`SharedCounts.take`), which the parent passes on to the other workers.
        STARTED: from the parent; another worker serves, and knows no counts yet.
        ENDED: from the parent; the number of another worker that has ended.
    """

    SERVING = 1
    HEALTH = 2
    FAILED = 3
    ASK_METRICS = 4
    METRICS = 5
    COUNTS = 6
    STARTED = 7
    ENDED = 8


class Message(NamedTuple):
    """A message of a link."""

    kind: Kind
    body: bytes


def frame(kind: Kind, body: bytes = b"") -> bytes:
    """Return a message as it is sent."""
    return bytes([kind]) + len(body).to_bytes(_HEADER_BYTES - 1, "big") + body


class Link:
    """One end of a pair of sockets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Link:
        """Take over a socket."""
        return cls(*await asyncio.open_connection(sock=end))

    def send(self, kind: Kind, body: bytes = b"") -> None:
        """Send a message without waiting for it. If the peer has ended, the message is lost."""
        transport = self._writer.transport
        if not transport.is_closing() and transport.get_write_buffer_size() < _MOST_WAITING:
            self._writer.write(frame(kind, body))

    async def messages(self) -> AsyncIterator[Message]:
        """Yield the peer's messages until the peer ends."""
        try:
            while True:
                header = await self._reader.readexactly(_HEADER_BYTES)
                body = await self._reader.readexactly(int.from_bytes(header[1:], "big"))
                yield Message(Kind(header[0]), body)
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def close(self) -> None:
        """Close this end once everything is sent."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
