"""Writes one structured line for each call: method, code, reason, duration. Never a field of a request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import structlog

from services.runtime.call import current_call
from services.runtime.interceptors.method import Context, Method, StreamHandler, UnaryHandler

_log = structlog.get_logger("access")


class AccessLog:
    """The outermost layer that sees how a call ended."""

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Log the call once it has ended, however it did."""

        async def handle(request: Any, context: Context) -> Any:
            start = time.perf_counter()
            try:
                return await proceed(request, context)
            except asyncio.CancelledError:
                _mark_cancelled()
                raise
            finally:
                _write(method, start)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Log the call once it has ended, however it did, with the number of its responses."""

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            start = time.perf_counter()
            responses = 0
            try:
                async for response in proceed(request, context):
                    responses += 1
                    yield response
            except (asyncio.CancelledError, GeneratorExit):
                _mark_cancelled()
                raise
            finally:
                _write(method, start, responses=responses)

        return handle


def _mark_cancelled() -> None:
    call = current_call.get()
    if call is not None and call.code == "OK":
        call.code = "CANCELLED"


def _write(method: Method, start: float, **more: int) -> None:
    call = current_call.get()
    if call is None:
        return
    if call.reason:
        more_fields: dict[str, Any] = {"reason": call.reason, **more}
    else:
        more_fields = dict(more)
    _log.info(
        "call",
        method=method.name,
        code=call.code,
        ms=round((time.perf_counter() - start) * 1000, 3),
        request_id=call.request_id,
        **more_fields,
    )
