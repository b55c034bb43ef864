"""Begins a stream of this process, and reads its messages."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


async def begin_stream(call: Any, first: Message, kind: type[M]) -> M:
    """Write the first message of a stream, and return the first message that comes back.

    Raises:
        AioRpcError: the stream has ended, as in `read_message`.
    """
    # If the call has ended already, the read raises the error with which it ended.
    with contextlib.suppress(asyncio.InvalidStateError):
        await call.write(first)
    return await read_message(call, kind)


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
