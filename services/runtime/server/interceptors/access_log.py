"""Access log: one line for each call, with method, caller, code and duration.

A line never contains a field of the request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import structlog

from services.runtime.call import Call, current_call
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler
from services.runtime.server.interceptors.metrics import NOT_SERVED

_log = structlog.get_logger("access")


class AccessLog:
    """Logs each call when it has ended. The layer is outside every layer that changes the outcome of a call.

    The layer takes the current call at the beginning, because an abandoned stream may be closed later in another task.
    """

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Log the call after it has ended in any way."""

        async def handle(request: Any, context: Context) -> Any:
            call, start = current_call.get(), time.perf_counter()
            try:
                return await proceed(request, context)
            except asyncio.CancelledError:
                _mark_cancelled(call)
                raise
            finally:
                _write(method, call, start)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Log the call after it has ended in any way, with the number of its responses."""

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            call, start = current_call.get(), time.perf_counter()
            responses = 0
            try:
                async for response in proceed(request, context):
                    responses += 1
                    yield response
            except (asyncio.CancelledError, GeneratorExit):
                _mark_cancelled(call)
                raise
            finally:
                _write(method, call, start, responses=responses)

        return handle


def _mark_cancelled(call: Call | None) -> None:
    if call is not None and call.code == "OK":
        call.code = "CANCELLED"


def _write(method: Method, call: Call | None, start: float, **more: int) -> None:
    if call is None:
        return
    more_fields: dict[str, Any] = {"reason": call.reason, **more} if call.reason else dict(more)
    if call.trace is not None:
        more_fields |= {"trace_id": call.trace.trace_id, "span_id": call.trace.span_id}
    _log.info(
        "call",
        # A method that does not exist has a name of the caller's choice, which could contain anything.
        method=method.name if method.served else NOT_SERVED,
        code=call.code,
        ms=round((time.perf_counter() - start) * 1000, 3),
        request_id=call.request_id,
        # A caller that is no longer accepted has no name, but its certificate still has one.
        caller=call.caller.name or call.caller.certificate_name,
        role=call.caller.role,
        peer=call.caller.peer,
        **more_fields,
    )
