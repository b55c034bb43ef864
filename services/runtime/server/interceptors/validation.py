"""Validation: checks every request, and every frame of a stream, against the rules in the .proto files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

from services.runtime.server.batches import Refused
from services.runtime.server.interceptors.decoding import refuse_unreadable
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler
from services.runtime.server.validation import check


class Validation:
    """Refuses requests that break a rule, before a servicer gets them.

    Servicers check the items of a batch one by one.
    """

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Check the request, or each frame of a client's stream as it arrives."""
        if method.request_streaming:

            def handle_frames(requests: AsyncIterator[Any], context: Context) -> Awaitable[Any]:
                return proceed(_checked(requests), context)

            return handle_frames

        def handle(request: Any, context: Context) -> Awaitable[Any]:
            _check(request)
            return proceed(request, context)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Check the request, or each frame of a client's stream as it arrives."""

        def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            if method.request_streaming:
                return proceed(_checked(request), context)
            _check(request)
            return proceed(request, context)

        return handle


async def _checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        _check(request.request if isinstance(request, Refused) else request)
        yield request


def _check(request: Any) -> None:
    refuse_unreadable(request)
    check(request)
