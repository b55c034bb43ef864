"""Open streams: ends a stream once its caller's certificate or token has expired, or its caller is denied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from hutong_texts import english

from services.domain.errors import Unauthenticated
from services.runtime.call import UNKNOWN, current_call
from services.runtime.caller import Caller
from services.runtime.server.access.identify import Identifier
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler

T = TypeVar("T")
_END = object()


class OpenStreams:
    """Checks the callers of open streams repeatedly.

    A unary call is checked once, when it begins, and its deadline ends it.
    """

    def __init__(self, identifier: Identifier) -> None:
        self._identifier = identifier
        self._streams: set[_Stream] = set()

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """End the call if it is a client's stream whose caller is no longer accepted."""
        if self._identifier.is_open or not method.request_streaming:
            return proceed

        async def handle(request: Any, context: Context) -> Any:
            return await self.wait_for(lambda: proceed(request, context))

        return handle

    def around_stream(self, _method: Method, proceed: StreamHandler) -> StreamHandler:
        """End the stream if its caller is no longer accepted."""
        if self._identifier.is_open:
            return proceed

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            stream = self._open()
            try:
                responses = proceed(request, context)
                while (response := await stream.wait_for(anext(responses, _END))) is not _END:
                    yield response
            finally:
                self._streams.discard(stream)

        return handle

    def require_accepted(self) -> None:
        """Check the caller of the current call.

        Raises:
            Unauthenticated: the caller's certificate or token has expired, or the caller is on the deny-list.
        """
        call = current_call.get()
        fault = self._identifier.find_fault(call.caller if call is not None else UNKNOWN)
        if fault:
            raise _not_accepted(fault)

    async def wait_for(self, answer: Callable[[], Awaitable[T]]) -> T:
        """Await the answer of a long call and return the answer. End the call if its caller is no longer accepted.

        Raises:
            Unauthenticated: the caller's certificate or token has expired, or the caller is on the deny-list.
        """
        self.require_accepted()
        stream = self._open()
        try:
            return await stream.wait_for(answer())
        finally:
            self._streams.discard(stream)

    def recheck(self) -> None:
        """End every stream whose caller is no longer accepted."""
        for stream in list(self._streams):
            fault = self._identifier.find_fault(stream.caller)
            if fault:
                stream.end(fault)

    async def recheck_periodically(self, seconds: float) -> None:
        """Check periodically until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            self.recheck()

    def _open(self) -> _Stream:
        call = current_call.get()
        assert call is not None
        stream = _Stream(call.caller)
        self._streams.add(stream)
        return stream


class _Stream:
    """One open stream. A task of its own serves it."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self._task = asyncio.current_task()
        self._fault = ""
        self._waits = False

    def end(self, fault: str) -> None:
        """End the stream. While a response is being sent, the stream ends after that response."""
        if self._fault:
            return
        self._fault = fault
        if self._waits and self._task is not None:
            self._task.cancel()

    async def wait_for(self, step: Awaitable[T]) -> T:
        """Await the next step of the stream and return its result.

        Raises:
            Unauthenticated: the stream was ended.
        """
        self._waits = True
        try:
            if self._fault:
                raise _not_accepted(self._fault)
            return await step
        except asyncio.CancelledError:
            # The cancellation goes on if the client has cancelled the call, alone or at the same time as `end`.
            if not self._fault or (self._task is not None and self._task.uncancel() > 0):
                raise
            raise _not_accepted(self._fault) from None
        finally:
            self._waits = False


def _not_accepted(fault: str) -> Unauthenticated:
    return Unauthenticated(
        "NOT_AUTHENTICATED",
        english("the caller is no longer accepted: {fault}", fault=fault),
        metadata={"why": fault},
    )
