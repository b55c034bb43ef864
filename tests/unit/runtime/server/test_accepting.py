"""The private parts of grpcio that the server needs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from structlog.testing import capture_logs

from services.runtime.server.accepting import AcceptingServer, Limit, RefusalStatus, can_limit, find_refusal
from tests.support.waiting import TIMEOUT_SECONDS

METHOD = "/lab.Lab/Get"


def test_the_pinned_grpcio_can_be_limited() -> None:
    """With another grpcio, calls would not be limited by lag.

    In that case adapt `services.runtime.server.accepting`.
    """
    assert can_limit()


class Faulty:
    """A limit that fails at its first call, refuses its second, and counts those that it admits."""

    def __init__(self) -> None:
        self.calls = 0
        self.ended = 0

    def refuse(self, _connection: str, _left: float | None) -> RefusalStatus | None:
        """Fail, refuse or admit."""
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("broken")
        return RefusalStatus(8, "not now", (("x-why", "a test"),)) if self.calls == 2 else None

    def end(self, _connection: str) -> None:
        """Count."""
        self.ended += 1


@contextlib.asynccontextmanager
async def served(limit: Limit) -> AsyncIterator[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]]:
    """Serve a method that answers with the request. Yields the method at a client."""

    async def answer(request: bytes, _context: Any) -> bytes:
        return request

    limited: dict[str, tuple[Any, Limit]] = {METHOD: (grpc.unary_unary_rpc_method_handler(answer), limit)}
    server = AcceptingServer([], [("grpc.so_reuseport", 0)], limited)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_unary(METHOD)
    await server.stop(TIMEOUT_SECONDS)


async def test_a_method_is_served_after_a_fault_of_its_limit() -> None:
    """The call at which it failed is lost. A refused call gets its text and trailers, and others are answered."""
    limit = Faulty()
    async with served(limit) as call:
        with capture_logs() as logs:
            assert await call(b"1", timeout=TIMEOUT_SECONDS).code() is not grpc.StatusCode.OK
        assert [line["event"] for line in logs] == ["a call could not be accepted"]
        refused = call(b"2", timeout=TIMEOUT_SECONDS)
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await refused.details() == "not now"
        assert dict(await refused.trailing_metadata() or ()) == {"x-why": "a test"}
        assert await call(b"3", timeout=TIMEOUT_SECONDS) == b"3"
    assert limit.ended == 1


class Expired:
    """The limit of a server. The time of every call is over when the call is accepted."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self.left: float | None = None

    def refuse(self, connection: str, left: float | None) -> RefusalStatus | None:
        """Decide as for a call without time left."""
        self.left = left
        return find_refusal(self._limit, connection, 0.0)

    def end(self, _connection: str) -> None:
        """Fail, because no call may be admitted."""
        raise AssertionError("a call was admitted")


async def test_a_call_whose_time_is_over_ends_as_its_caller_expects() -> None:
    """The call ends with DEADLINE_EXCEEDED while its caller still waits.

    The limit is not asked, so the call counts neither as refused nor as begun.
    """
    limit = Faulty()
    expired = Expired(limit)
    async with served(expired) as call:
        over = call(b"1", timeout=TIMEOUT_SECONDS)
        assert await over.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await over.details() == "the caller's time was over before the call began"
    assert limit.calls == 0
    assert expired.left is not None
    # gRPC sends the remaining time of a call rounded up.
    assert 0 < expired.left <= 1.1 * TIMEOUT_SECONDS
