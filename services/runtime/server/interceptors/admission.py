"""Admission: refuses unary calls beyond a limit at once. The admitted calls therefore stay fast."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from hutong_texts import english

from services.domain.errors import ResourceExhausted
from services.domain.instant import SECOND
from services.runtime.call import current_call
from services.runtime.server.interceptors.authorization import read_rules
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler


def _note_nothing(_method: Method, _cost: int, _change: int) -> None:
    pass


class Admission:
    """Counts the calls in flight over all methods of the server. Streams have their own limits in their services.

    A call that only waits for another node's commits is not counted, because it costs next to nothing.
    """

    def __init__(self, max_calls: int, note_waiting: Callable[[Method, int, int], None] = _note_nothing) -> None:
        """`note_waiting` takes a method, its cost, and the change in the number of its calls that only wait."""
        self._max_calls = max_calls
        self._note_waiting = note_waiting
        self._in_flight = 0
        self._waiting = 0
        self._streams = 0
        self._ended = asyncio.Event()

    async def wait_until_idle(self) -> None:
        """Wait until no call is in flight. Meanwhile the server must accept no new calls."""
        while self._in_flight or self._streams:
            self._ended.clear()
            await self._ended.wait()

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Refuse the call if too many are in flight."""
        cost = read_rules(method).cost

        def note_waiting(change: int) -> None:
            self._waiting += change
            self._note_waiting(method, cost, change)

        async def handle(request: Any, context: Context) -> Any:
            if self._in_flight - self._waiting >= self._max_calls:
                raise ResourceExhausted(
                    "OVERLOADED",
                    english("more calls are in flight than this process takes; try again"),
                    metadata={"limit": str(self._max_calls), "what": "calls in flight"},
                    retry_after=SECOND,
                )
            self._in_flight += 1
            call = current_call.get()
            if call is not None:
                call.note_waiting = note_waiting
            try:
                return await proceed(request, context)
            finally:
                self._in_flight -= 1
                self._ended.set()

        return handle

    def around_stream(self, _method: Method, proceed: StreamHandler) -> StreamHandler:
        """Admit every stream."""

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            self._streams += 1
            try:
                async for response in proceed(request, context):
                    yield response
            finally:
                self._streams -= 1
                self._ended.set()

        return handle
