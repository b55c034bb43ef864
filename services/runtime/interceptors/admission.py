"""Sheds unary calls beyond what a process can do, at once and with a clear answer, so that those inside stay fast."""

from __future__ import annotations

from typing import Any

from services.domain.errors import ResourceExhausted
from services.domain.instant import SECOND
from services.runtime.interceptors.method import Context, Method, StreamHandler, UnaryHandler


class Admission:
    """Counts unary calls in flight over all methods of the server. Streams have limits of their own."""

    def __init__(self, max_calls: int) -> None:
        self._max_calls = max_calls
        self._in_flight = 0

    def around_unary(self, _method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Refuse the call when too many are in flight."""

        async def handle(request: Any, context: Context) -> Any:
            if self._in_flight >= self._max_calls:
                raise ResourceExhausted(
                    "OVERLOADED",
                    "more calls are in flight than this process takes; try again",
                    metadata={"limit": str(self._max_calls), "what": "calls in flight"},
                    retry_after=SECOND,
                )
            self._in_flight += 1
            try:
                return await proceed(request, context)
            finally:
                self._in_flight -= 1

        return handle

    def around_stream(self, _method: Method, proceed: StreamHandler) -> StreamHandler:
        """Leave streams alone."""
        return proceed
