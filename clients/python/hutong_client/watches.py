"""Watches that go on after every break: the last cursor is kept, and a stream that falls silent is opened again.

`hutong_client.aio.watch` does the same for asyncio.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from hutong_client.errors import ConnectionCut, HutongError
from hutong_client.retry import RetryPolicy, Tries

SILENCE_SECONDS = 15.0
"""A watch sends a heartbeat at least every 5 seconds. A stream that misses three of them counts as broken."""
_BUFFERED = 64
"""The number of messages that are read ahead of the caller. While so many messages are unread, the service waits."""


class WatchMessage(Protocol):
    """A message of a watch."""

    cursor: str


class WatchRequest(Protocol):
    """A request for a watch."""

    cursor: str


Message = TypeVar("Message", bound=WatchMessage)


def watch(
    method: Callable[..., Iterable[Message]],
    request: WatchRequest,
    *,
    silence_seconds: float = SILENCE_SECONDS,
    retry_policy: RetryPolicy | None = None,
) -> Iterator[Message]:
    """Yield the messages of a watch, heartbeats included, without end. Each message comes once and in order.

    After a break the watch is opened again with the cursor of the last message. Keep `message.cursor` once the message
    is processed. A later `watch` whose request has this cursor goes on from there.

    Args:
        method: the watch, as `connection.results.WatchResults` or `connection.policies.WatchPolicies`.
        request: the request, with the cursor to start after. Each message's cursor overwrites the cursor of the
            request.
        silence_seconds: the stream is opened again if no message comes for this long.
        retry_policy: how long to retry without any message.

    Raises:
        OutOfRange: with CURSOR_TOO_OLD. The service no longer keeps all changes after the cursor. Read everything anew.
        HutongError: another failure that a retry cannot cure, or the last failure when the retry policy gives up.
    """
    policy = retry_policy or RetryPolicy()
    tries = Tries(policy)
    while True:
        try:
            for message in _read(method(request), silence_seconds):
                tries.progress()
                yield message
                request.cursor = message.cursor
            error: HutongError = ConnectionCut("the service closed the watch")
        except HutongError as broken:
            if not broken.can_be_retried:
                raise
            error = broken
        policy.sleep(tries.next_wait(error))


def _read(call: Any, silence_seconds: float) -> Iterator[Any]:
    """Yield the messages of one stream; raise ConnectionCut if none comes for `silence_seconds`."""
    messages: queue.Queue[Any] = queue.Queue(_BUFFERED)
    is_left = threading.Event()

    def read() -> None:
        try:
            for message in call:
                messages.put(message)
                if is_left.is_set():
                    return
            messages.put(None)
        except BaseException as error:  # noqa: BLE001 - is raised in the caller's thread
            messages.put(error)

    threading.Thread(target=read, name="hutong-watch", daemon=True).start()
    try:
        while True:
            message = messages.get(timeout=silence_seconds)
            if message is None:
                return
            if isinstance(message, BaseException):
                raise message
            yield message
    except queue.Empty:
        raise ConnectionCut(f"nothing came for {silence_seconds:g} seconds") from None
    finally:
        is_left.set()
        call.cancel()
        _empty(messages)


def _empty(messages: queue.Queue[Any]) -> None:
    """Remove all messages, so that the reading thread can put its last message and end."""
    while True:
        try:
            messages.get_nowait()
        except queue.Empty:
            return
