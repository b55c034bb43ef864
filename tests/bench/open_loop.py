"""Callers that begin calls at a rate, answered or not, as many gates together do.

They speak HTTP/2 by hand. A call costs them about a tenth of what it costs with grpcio, so that ten times a server's
capacity can be offered on the server's own machine.
"""

from __future__ import annotations

import heapq
import itertools
import multiprocessing
import os
import selectors
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hutong_client.throttle import Throttle

from tests.support.hostile.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    literal,
    request_headers,
)

HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 3, 4
TRUE_BINARY = 0xFE03
"""gRPC's own setting: binary trailers come as they are, so that a refusal can be read without Huffman's code."""
LARGE = 2**31 - 1
REFUSED_STREAM = 7
MOST_UNDER_WAY = 100
"""Calls under way on one connection. A caller with more has the rest wait, as it would at a gate."""
FIRST_WINDOW = 65_535
"""The bytes that a connection may send before the peer has said anything (RFC 9113, section 6.9.2)."""
HELD, OK, EXHAUSTED, DEADLINE, CANCELLED, NOT_SENT, SENT_LATE, BAD, NO_RETRY = (
    "held back",
    "OK",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "CANCELLED",
    "not sent",
    "sent late",
    "bad answer",
    "RESOURCE_EXHAUSTED without RetryInfo",
)
"""How a call ends.

HELD is a call that its caller held back because of earlier refusals. NOT_SENT is a call whose time was over before the
connection had a free stream for the call. SENT_LATE is a call that waited for a free stream for more than half of its
time, was then sent, and had no answer before its time was over.
"""
_CODES = {0: OK, 1: CANCELLED, 4: DEADLINE, 8: EXHAUSTED}
_STATUS = b"grpc-status"
_RETRY = b"google.rpc.RetryInfo"
_TICK_SECONDS = 0.002
CALLERS_NICENESS = 10
"""Callers run elsewhere in reality, so here they must not take the processor from the server."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one process of callers does.

    Attributes:
        address: the server's host:port.
        method: the full name of a unary method.
        requests: encoded requests, which are sent in turn.
        connections: how many connections share the calls.
        timeout: the seconds after which a caller gives its call up.
        rate: calls a second; 0 if `in_flight` governs.
        in_flight: calls that are kept under way if `rate` is 0.
        is_good: says of an encoded response whether the answer is a good one.
        holds_back: whether callers hold calls back while they are refused, as our client library does.
    """

    address: str
    method: str
    requests: Sequence[bytes]
    connections: int
    timeout: float
    is_good: Callable[[bytes], bool]
    rate: float = 0.0
    in_flight: int = 0
    holds_back: bool = False

    def with_rate(self, rate: float, *, holds_back: bool = False) -> Load:
        """Return this load with calls that begin at a rate."""
        return replace(self, rate=rate, in_flight=0, holds_back=holds_back)

    def with_calls(self, in_flight: int) -> Load:
        """Return this load with a number of calls under way."""
        return replace(self, rate=0.0, in_flight=in_flight)


def call_for(seconds: float, loads: Sequence[Load]) -> Counter[str]:
    """Let each load call from a process of its own. Return how many calls ended in each way."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(loads)) as pool:
        found = pool.starmap(_call, [(load, seconds) for load in loads], chunksize=1)
    return sum(found, Counter())


class _Connection:
    """One HTTP/2 connection."""

    def __init__(self, load: Load) -> None:
        host, port = load.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setblocking(False)
        self.open: dict[int, float] = {}
        self.waiting: deque[float] = deque()
        self._headers = request_headers(load.method)
        self._timeout = load.timeout
        self._next = 1
        self._out = bytearray()
        self._in = bytearray()
        self._window = FIRST_WINDOW
        self._most = MOST_UNDER_WAY
        self._messages: dict[int, bytes] = {}
        self._throttle = Throttle() if load.holds_back else None
        settings = ((HEADER_TABLE_SIZE, 0), (INITIAL_WINDOW_SIZE, LARGE), (TRUE_BINARY, 1))
        payload = b"".join(struct.pack(">HI", *pair) for pair in settings)
        grow = struct.pack(">I", LARGE - FIRST_WINDOW)
        self._out += PREFACE + frame(SETTINGS, 0, 0, payload) + frame(WINDOW_UPDATE, 0, 0, grow)

    def holds_back(self) -> bool:
        """Whether the caller ends the next call itself."""
        return self._throttle is not None and self._throttle.holds()

    def is_free(self, size: int) -> bool:
        """Whether a call with a request of this size can be sent now."""
        return len(self.open) < self._most and self._window > size + 5

    def send(self, request: bytes, due: float, left: float) -> int:
        """Send a call that has so many seconds left, which its headers say as with every library. Return its stream."""
        stream, self._next = self._next, self._next + 2
        timeout = literal("grpc-timeout", f"{max(1, round(left * 1000))}m")
        self._out += frame(HEADERS, END_HEADERS, stream, self._headers + timeout)
        self._out += frame(DATA, END_STREAM, stream, struct.pack(">BI", 0, len(request)) + request)
        self._window -= len(request) + 5
        self.open[stream] = due
        return stream

    def reset(self, stream: int) -> bool:
        """Give a call up. Return False if it has ended."""
        if self.open.pop(stream, None) is None:
            return False
        self._messages.pop(stream, None)
        self._out += frame(RST_STREAM, 0, stream, struct.pack(">I", 8))
        return True

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        if self._out:
            try:
                del self._out[: self.socket.send(self._out)]
            except BlockingIOError:
                return

    def receive(self, ended: Callable[[str, bytes], None]) -> None:
        """Read what has come. `ended` gets each call that has ended: how it ended, and its message."""
        try:
            while True:
                read = self.socket.recv(1 << 20)
                if not read:
                    raise ConnectionError("the server has closed the connection")
                self._in += read
        except BlockingIOError:
            pass
        at, data = 0, bytes(self._in)
        while len(data) - at >= 9:
            size = int.from_bytes(data[at : at + 3])
            if len(data) - at < 9 + size:
                break
            kind, flags, stream = data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9])
            self._take(kind, flags, stream, data[at + 9 : at + 9 + size], ended)
            at += 9 + size
        del self._in[:at]

    def _is_late(self, stream: int) -> bool:
        """Whether the time of a call is over."""
        due = self.open.get(stream)
        return due is not None and time.perf_counter() + _TICK_SECONDS >= due + self._timeout

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, ended: Callable[[str, bytes], None]) -> None:
        if kind == DATA:
            if stream in self.open:
                self._messages[stream] = self._messages.get(stream, b"") + payload
        elif kind == HEADERS and flags & END_STREAM:
            outcome = _outcome(payload)
            # When the time of a call is over the server ends it too. For the caller it is then at its deadline.
            is_over = outcome == CANCELLED and self._is_late(stream)
            if not is_over and self.open.pop(stream, None) is not None:
                if self._throttle is not None:
                    self._throttle.note(is_refused=outcome == EXHAUSTED)
                ended(outcome, self._messages.pop(stream, b"")[5:])
        elif kind == RST_STREAM:
            due = None if self._is_late(stream) else self.open.pop(stream, None)
            if due is not None:
                self._messages.pop(stream, None)
                if int.from_bytes(payload) == REFUSED_STREAM:
                    # The server has not looked at the call, so every library of gRPC sends it again.
                    self.waiting.appendleft(due)
                else:
                    ended(CANCELLED, b"")
        elif kind == SETTINGS and not flags & ACK:
            for start in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, start)
                if name == MAX_CONCURRENT_STREAMS:
                    self._most = min(value, MOST_UNDER_WAY)
            self._out += frame(SETTINGS, ACK)
        elif kind == PING and not flags & ACK:
            self._out += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(payload)


def _outcome(trailers: bytes) -> str:
    """Return how a call ended by its trailers, which are not compressed."""
    at = trailers.find(_STATUS) + len(_STATUS)
    size = trailers[at]
    code = int(trailers[at + 1 : at + 1 + size])
    outcome = _CODES.get(code, f"code {code}")
    return NO_RETRY if outcome == EXHAUSTED and _RETRY not in trailers else outcome


def _call(load: Load, seconds: float) -> Counter[str]:
    os.nice(CALLERS_NICENESS)
    ends: Counter[str] = Counter()
    connections = [_Connection(load) for _ in range(load.connections)]
    selector = selectors.DefaultSelector()
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    # A heap, because a call that has waited at its connection can end before calls that were sent earlier.
    expiring: list[tuple[float, int, _Connection, int, float]] = []
    numbers = itertools.count()
    largest = max(map(len, load.requests))

    def ended(outcome: str, message: bytes) -> None:
        ends[BAD if outcome == OK and not load.is_good(message) else outcome] += 1

    begun = time.perf_counter()
    until, sent = begun + seconds, 0
    while True:
        now = time.perf_counter()
        if now < until:
            # If `in_flight` is set, one call is due as soon as another has ended.
            wanted = int((now - begun) * load.rate) if load.rate else ends.total() + load.in_flight
            while sent < wanted:
                due = begun + sent / load.rate if load.rate else now
                connection = connections[sent % len(connections)]
                sent += 1
                if connection.holds_back():
                    ends[HELD] += 1
                else:
                    connection.waiting.append(due)
        elif ends.total() >= sent:
            break
        for connection in connections:
            while connection.waiting and connection.waiting[0] + load.timeout <= now:
                connection.waiting.popleft()
                ends[NOT_SENT] += 1
            while connection.waiting and connection.is_free(largest):
                due, number = connection.waiting.popleft(), next(numbers)
                stream = connection.send(load.requests[number % len(load.requests)], due, due + load.timeout - now)
                heapq.heappush(expiring, (due + load.timeout, number, connection, stream, now))
        while expiring and expiring[0][0] <= now:
            _, _, connection, stream, sent_at = heapq.heappop(expiring)
            if connection.reset(stream):
                ends[DEADLINE if now - sent_at > load.timeout / 2 else SENT_LATE] += 1
        for connection in connections:
            connection.flush()
        for key, _ in selector.select(_TICK_SECONDS):
            key.data.receive(ended)
    for connection in connections:
        connection.socket.close()
    selector.close()
    return ends
