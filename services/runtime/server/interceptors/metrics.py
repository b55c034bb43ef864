"""Counts calls and their durations for Prometheus: hutong_calls_total, hutong_call_seconds, hutong_calls_in_flight."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from services.runtime.call import Call, current_call
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CALLS = Counter("hutong_calls_total", "Calls by method and code", ["method", "code"])
SECONDS = Histogram("hutong_call_seconds", "Duration of calls in seconds", ["method"], buckets=_BUCKETS)
IN_FLIGHT = Gauge("hutong_calls_in_flight", "Calls under way", ["method"])

NOT_SERVED = "(not served)"
"""The label of every method nobody serves: a caller who makes up names must not make up series."""


class Metrics:
    """Counts each call when it ends."""

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Count and time the call."""
        label = _label(method)
        seconds, in_flight = SECONDS.labels(label), IN_FLIGHT.labels(label)
        ok = CALLS.labels(label, "OK")

        async def handle(request: Any, context: Context) -> Any:
            start = time.perf_counter()
            call = current_call.get()
            in_flight.inc()
            try:
                response = await proceed(request, context)
                ok.inc()
                return response
            except BaseException:
                _count_failure(label, call)
                raise
            finally:
                in_flight.dec()
                seconds.observe(time.perf_counter() - start)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Count the call; a stream's duration says little and is left out."""
        label = _label(method)
        in_flight = IN_FLIGHT.labels(label)
        ok = CALLS.labels(label, "OK")

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            call = current_call.get()
            in_flight.inc()
            try:
                async for response in proceed(request, context):
                    yield response
                ok.inc()
            except BaseException:
                _count_failure(label, call)
                raise
            finally:
                in_flight.dec()

        return handle


def _label(method: Method) -> str:
    return method.name if method.served else NOT_SERVED


def _count_failure(label: str, call: Call | None) -> None:
    code = call.code if call is not None and call.code != "OK" else "CANCELLED"
    CALLS.labels(label, code).inc()
