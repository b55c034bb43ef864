"""Repeats calls that a stopping server has not begun."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

Answer = TypeVar("Answer")

TRIES = 3
"""How often a call is made at most. gRPC gives the first repetition the old connection in one of some 200 stops."""


async def repeat_if_not_begun(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Make a unary call without side effects. Make it again if a stopping server cancels it.

    A server that stops tells its clients to open new connections. Until a client knows that, the server cancels what
    arrives, and has not begun it. The repetition takes a new connection.

    Raises:
        AioRpcError: the call failed.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if not tries_left or error.code() != grpc.StatusCode.CANCELLED:
                raise
    raise AssertionError("the last try returns or raises")
