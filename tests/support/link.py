"""A connection between two nodes that a test can cut, freeze half-open, slow down and restore."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Link:
    """A TCP proxy on loopback that forwards every connection to a target.

    Use `link.address` in place of the target's address inside `async with link_to(address) as link:`. `cut`, `freeze`,
    `strand` and `slow` disturb the connections; `mend` restores them.
    """

    def __init__(self, address: str) -> None:
        self.lead_to(address)
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

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
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

    def freeze(self) -> None:
        """Forward nothing, on old and new connections, but leave them open. Neither side notices."""
        self._frozen = True
        for flowing in self._ways:
            flowing.clear()

    def strand(self) -> None:
        """Forward nothing on the present connections for ever, unnoticed by either side. New connections work."""
        for flowing in self._ways:
            flowing.clear()
        self._ways = set()

    def slow(self, seconds: float) -> None:
        """Forward everything this many seconds later."""
        self._delay = seconds

    def lead_to(self, address: str) -> None:
        """Forward new connections to another address, as after a restart on another port."""
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))

    def mend(self) -> None:
        """Forward everything at once again."""
        self._whole = True
        self._delay = 0.0
        self._frozen = False
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
            back, far = await asyncio.open_connection(*self._target)
            flowing = asyncio.Event()
            if not self._frozen:
                flowing.set()
            self._ways.add(flowing)
            pairs = ((reader, far), (back, writer))
            ways = [asyncio.ensure_future(self._carry(source, target, flowing)) for source, target in pairs]
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

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                self.held += len(data)
                try:
                    await flowing.wait()
                    if self._delay:
                        await asyncio.sleep(self._delay)
                finally:
                    self.held -= len(data)
                self.carried += data
                target.write(data)
                await target.drain()


@contextlib.asynccontextmanager
async def link_to(address: str) -> AsyncIterator[Link]:
    """Open a link to an address that forwards everything."""
    link = Link(address)
    await link.open()
    try:
        yield link
    finally:
        await link.close()
