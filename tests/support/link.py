"""A connection between two nodes that a test can cut, freeze half-open, slow down and restore."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

_AHEAD = 64
"""The most chunks of 64 KiB that wait in one direction of a connection."""

_Chunks = asyncio.Queue[tuple[float, bytes] | None]
"""Data with the time of the loop at which it is due; None at the end."""


class Link:
    """A TCP proxy on loopback that forwards every connection to a target.

    Use `link.address` in place of the target's address inside `async with link_to(address) as link:`. `cut`, `cut_at`,
    `freeze`, `hold_after`, `strand` and `slow` disturb the connections; `mend` restores them. With a TLS context the
    proxy ends TLS and forwards plain text.
    """

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        self.lead_to(address)
        self._tls = tls
        self._whole = True
        self._frozen = False
        self._ways: set[asyncio.Event] = set()
        self._delay = 0.0
        self._carriers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.address = ""
        self.held = 0
        """Bytes that came in and are not carried yet."""
        self.carried = bytearray()
        """All bytes that were forwarded in either direction."""
        self.counts = [0, 0]
        """The number of bytes that were forwarded to the target, and back."""
        self.cut_count = 0
        """How often a connection was reset by `cut_at`."""
        self._limits: list[int | None] = [None, None]
        self._hold: int | None = None
        self._released = asyncio.Event()
        self.is_holding = False
        """Whether bytes wait because of `hold_after`."""

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._carriers)

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def close(self) -> None:
        """Drop all connections and stop listening."""
        await self.cut()
        if self._server is not None:
            self._server.close()

    async def cut(self) -> None:
        """Reset every connection, and every new one, until the link is mended."""
        self._whole = False
        for carrier in list(self._carriers):
            carrier.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)

    def cut_at(self, byte: int, *, back: bool = False) -> None:
        """Reset the connection that carries this byte, counted over all connections of one direction, after the byte.

        Later connections work.
        """
        self._limits[back] = byte

    def freeze(self) -> None:
        """Forward nothing, on old and new connections, but leave them open. Neither side notices."""
        self._frozen = True
        for flowing in self._ways:
            flowing.clear()

    def hold_after(self, count: int) -> None:
        """Forward this many further bytes to the target and then no more, but everything that comes back."""
        self._hold = self.counts[0] + count
        self._move_on()

    def strand(self) -> None:
        """Forward nothing on the present connections for ever, unnoticed by either side. New connections work."""
        for flowing in self._ways:
            flowing.clear()
        self._ways = set()

    def slow(self, seconds: float) -> None:
        """Forward everything this many seconds later."""
        self._delay = seconds

    def lead_to(self, address: str) -> None:
        """Forward new connections to another address, as after a restart on another port.

        An address with a slash in front is the path of a Unix socket.
        """
        self._target = address

    def mend(self) -> None:
        """Forward everything at once again."""
        self._whole = True
        self._delay = 0.0
        self._frozen = False
        self._hold = None
        self._move_on()
        for flowing in self._ways:
            flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connect(reader, writer))
        self._carriers.add(task)
        task.add_done_callback(self._carriers.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection in both directions until either side ends it."""
        far: asyncio.StreamWriter | None = None
        try:
            if not self._whole:
                return
            back, far = await self._open_far()
            flowing = asyncio.Event()
            if not self._frozen:
                flowing.set()
            self._ways.add(flowing)
            pairs = ((reader, far), (back, writer))
            ways = [
                asyncio.ensure_future(self._carry(source, target, flowing, way))
                for way, (source, target) in enumerate(pairs)
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                self._ways.discard(flowing)
        except OSError:
            return
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()

    async def _open_far(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.startswith("/"):
            return await asyncio.open_unix_connection(self._target)
        host, _, port = self._target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, flowing: asyncio.Event, way: int
    ) -> None:
        """Read ahead of what is forwarded, so that a slow link delays every byte by the same time."""
        chunks: _Chunks = asyncio.Queue(_AHEAD)
        forwarding = asyncio.ensure_future(self._forward(chunks, target, flowing, way))
        reading = asyncio.ensure_future(self._read(source, chunks))
        try:
            await asyncio.wait((forwarding, reading), return_when=asyncio.FIRST_COMPLETED)
            if not forwarding.done() and reading.exception() is None:
                await forwarding
        finally:
            forwarding.cancel()
            reading.cancel()
            await asyncio.gather(forwarding, reading, return_exceptions=True)
            while not chunks.empty():
                chunk = chunks.get_nowait()
                self.held -= len(chunk[1]) if chunk else 0

    async def _read(self, source: asyncio.StreamReader, chunks: _Chunks) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                await chunks.put((asyncio.get_running_loop().time() + self._delay, data))
                self.held += len(data)
        await chunks.put(None)

    async def _forward(self, chunks: _Chunks, target: asyncio.StreamWriter, flowing: asyncio.Event, way: int) -> None:
        with contextlib.suppress(OSError):
            while chunk := await chunks.get():
                due, data = chunk
                try:
                    await flowing.wait()
                    if self._delay:
                        await asyncio.sleep(due - asyncio.get_running_loop().time())
                finally:
                    self.held -= len(data)
                while way == 0 and self._hold is not None and self.counts[0] + len(data) > self._hold:
                    room = self._hold - self.counts[0]
                    self._send(data[:room], target, way)
                    data = data[room:]
                    self.is_holding = True
                    await self._released.wait()
                limit = self._limits[way]
                is_last = limit is not None and self.counts[way] + len(data) >= limit
                if limit is not None and is_last:
                    data = data[: max(0, limit - self.counts[way])]
                self._send(data, target, way)
                await target.drain()
                if is_last:
                    self._limits[way] = None
                    self.cut_count += 1
                    return

    def _move_on(self) -> None:
        """Let what waits because of `hold_after` go on up to the new limit."""
        self.is_holding = False
        self._released.set()
        self._released = asyncio.Event()

    def _send(self, data: bytes, target: asyncio.StreamWriter, way: int) -> None:
        self.counts[way] += len(data)
        self.carried += data
        target.write(data)


@contextlib.asynccontextmanager
async def link_to(address: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Link]:
    """Open a link to an address that forwards everything."""
    link = Link(address, tls)
    await link.open()
    try:
        yield link
    finally:
        await link.close()
