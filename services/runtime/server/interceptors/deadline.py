"""Deadline: ends every unary call shortly before the caller's deadline. The error then still reaches the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from hutong_texts import english

from services.domain.errors import DeadlineExceeded
from services.runtime.call import current_call
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler

RESERVED_SHARE = 0.05
"""The share of the caller's time that is reserved for sending the answer, at most RESERVED_SECONDS."""
RESERVED_SECONDS = 0.1


class Deadline:
    """Sets the deadline of the call. Calls that it makes to other services get the time that is left.

    `default_seconds` is the deadline of a caller that sets none.
    """

    def __init__(self, default_seconds: float) -> None:
        self._default_seconds = default_seconds

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Run the call under its deadline."""

        async def handle(request: Any, context: Context) -> Any:
            given = context.time_remaining()
            seconds = self._default_seconds if given is None else given - min(RESERVED_SECONDS, given * RESERVED_SHARE)
            if seconds <= 0:
                raise _too_late(method)
            call = current_call.get()
            if call is not None:
                call.deadline = asyncio.get_running_loop().time() + seconds
            limit = _Limit(seconds)
            try:
                return await proceed(request, context)
            except (asyncio.CancelledError, TimeoutError):
                if limit.has_cancelled():
                    raise _too_late(method) from None
                # The cancellation came from elsewhere, or the handler's own work timed out while the caller still has
                # time.
                raise
            finally:
                limit.stop()

        return handle

    def around_stream(self, _method: Method, proceed: StreamHandler) -> StreamHandler:
        """Keep the stream's own deadline, if the caller has set one. An upload or a watch may last for days."""

        def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            given, call = context.time_remaining(), current_call.get()
            if given is not None and call is not None:
                call.deadline = asyncio.get_running_loop().time() + given
            return proceed(request, context)

        return handle


class _Limit:
    """Cancels the running task after some seconds.

    `asyncio.timeout` does the same, but costs every call five times as much.
    """

    __slots__ = ("_cancelling", "_is_over", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._is_over = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._cancel)

    def _cancel(self) -> None:
        self._is_over = True
        self._task.cancel()

    def has_cancelled(self) -> bool:
        """Whether this limit, and nothing else, has cancelled the task. Call it when the task's work has ended."""
        return self._is_over and self._task.cancelling() - 1 <= self._cancelling

    def stop(self) -> None:
        """End the limit. If the limit has cancelled the task, undo the cancellation."""
        self._timer.cancel()
        if self._is_over:
            self._task.uncancel()


def _too_late(method: Method) -> DeadlineExceeded:
    return DeadlineExceeded(
        "DEADLINE", english("the call's time was over before the work was"), metadata={"method": method.name}
    )
