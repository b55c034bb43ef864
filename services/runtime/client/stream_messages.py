"""Reads messages of a stream that this process has opened."""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


async def read_message(call: Any, kind: type[M]) -> M:
    """Return the next message of a stream. All messages of the stream are of one kind.

    Raises:
        AioRpcError: the stream has ended. The error has the final status of the stream, which may be OK.
    """
    message = await call.read()
    if message is grpc.aio.EOF:
        code = await call.code()
        raise grpc.aio.AioRpcError(
            code, await call.initial_metadata(), await call.trailing_metadata(), details=await call.details()
        )
    assert isinstance(message, kind)
    return message
