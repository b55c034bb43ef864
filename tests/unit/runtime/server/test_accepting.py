"""The private parts of grpcio that the server needs."""

from __future__ import annotations

from typing import Any

import grpc
from structlog.testing import capture_logs

from services.runtime.server.accepting import AcceptingServer, Limit, Refusal, can_limit
from tests.support.waiting import TIMEOUT_SECONDS

METHOD = "/lab.Lab/Get"


def test_the_pinned_grpcio_can_be_limited() -> None:
    """With another one, calls would not be limited by lag. Adapt `services.runtime.server.accepting` then."""
    assert can_limit()


class Faulty:
    """A limit that fails at its first call, refuses its second, and counts those that it admits."""

    def __init__(self) -> None:
        self.calls = 0
        self.ended = 0

    def refuse(self, _connection: str, _left: float | None) -> Refusal | None:
        """Fail, refuse or admit."""
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("broken")
        return Refusal(8, "not now", (("x-why", "a test"),)) if self.calls == 2 else None

    def end(self, _connection: str) -> None:
        """Count."""
        self.ended += 1


async def test_a_method_is_served_after_a_fault_of_its_limit() -> None:
    """The call at which it failed is lost. A refused call gets its text and trailers, and others are answered."""

    async def answer(request: bytes, _context: Any) -> bytes:
        return request

    limit = Faulty()
    limited: dict[str, tuple[Any, Limit]] = {METHOD: (grpc.unary_unary_rpc_method_handler(answer), limit)}
    server = AcceptingServer([], [("grpc.so_reuseport", 0)], limited)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        with capture_logs() as logs:
            assert await call(b"1", timeout=TIMEOUT_SECONDS).code() is not grpc.StatusCode.OK
        assert [line["event"] for line in logs] == ["a call could not be accepted"]
        refused = call(b"2", timeout=TIMEOUT_SECONDS)
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await refused.details() == "not now"
        assert dict(await refused.trailing_metadata() or ()) == {"x-why": "a test"}
        assert await call(b"3", timeout=TIMEOUT_SECONDS) == b"3"
    await server.stop(TIMEOUT_SECONDS)
    assert limit.ended == 1
