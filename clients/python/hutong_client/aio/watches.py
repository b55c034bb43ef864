"""Watches for asyncio that go on after every break. `hutong_client.watches` explains how."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from hutong_client.errors import ConnectionCut, HutongError
from hutong_client.retry import RetryPolicy, Tries
from hutong_client.watches import SILENCE_SECONDS, Message, WatchRequest


async def watch(
    method: Callable[..., Any],
    request: WatchRequest,
    *,
    silence_seconds: float = SILENCE_SECONDS,
    retry_policy: RetryPolicy | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Any]:
    """Yield the messages of a watch, heartbeats included, without end. Each message comes once and in order.

    After a break the watch is opened again with the cursor of the last message. Keep `message.cursor` once the message
    is processed. A later `watch` whose request has this cursor goes on from there.

    Args:
        method: the watch, as `connection.results.WatchResults` or `connection.policies.WatchPolicies`.
        request: the request, with the cursor to start after. Each message's cursor overwrites the cursor of the
            request.
        silence_seconds: the stream is opened again if no message comes for this long.
        retry_policy: how long to retry without any message. Its `sleep` is not used.
        sleep: waits a number of seconds.

    Raises:
        OutOfRange: with CURSOR_TOO_OLD. The service no longer keeps all changes after the cursor. Read everything anew.
        HutongError: another failure that a retry cannot cure, or the last failure when the retry policy gives up.
    """
    tries = Tries(retry_policy or RetryPolicy())
    while True:
        call = method(request)
        try:
            while (message := await _next(call, silence_seconds)) is not grpc.aio.EOF:
                tries.progress()
                yield message
                request.cursor = message.cursor
            error: HutongError = ConnectionCut("the service closed the watch")
        except HutongError as broken:
            if not broken.can_be_retried:
                raise
            error = broken
        finally:
            call.cancel()
        await sleep(tries.next_wait(error))


async def _next(call: Any, silence_seconds: float) -> Message | Any:
    try:
        async with asyncio.timeout(silence_seconds):
            return await call.read()
    except TimeoutError:
        raise ConnectionCut(f"nothing came for {silence_seconds:g} seconds") from None
