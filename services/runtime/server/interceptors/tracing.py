"""Tracing: a span for each call, in the caller's trace if the caller samples it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from services.runtime.call import Call, Trace, current_call
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler
from services.runtime.server.interceptors.metrics import labels_of
from services.runtime.tracing.spans import current_span

if TYPE_CHECKING:
    from services.runtime.tracing.recording import ActiveSpan, ServiceTracer

_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""The codes that OpenTelemetry counts as errors of the server. The others are errors of the caller."""


class Tracing:
    """Begins a call's span, or passes the caller's decision on that the call is not sampled.

    The layer is just inside the one that reads the caller's trace. Without a tracer it wraps nothing.
    """

    def __init__(self, tracer: ServiceTracer | None) -> None:
        self._tracer = tracer

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Record the call."""
        if self._tracer is None:
            return proceed
        calls = _Calls(self._tracer, method)

        async def handle(request: Any, context: Context) -> Any:
            call = current_call.get()
            active = calls.begin(call)
            if active is None:
                return await proceed(request, context)
            current_span.set(active)
            try:
                return await proceed(request, context)
            finally:
                _end(active, call)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Record the call, which may last for days. Its messages have traces of their own."""
        if self._tracer is None:
            return proceed
        calls = _Calls(self._tracer, method)

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            call = current_call.get()
            active = calls.begin(call)
            current_span.set(active)
            try:
                async for response in proceed(request, context):
                    yield response
            finally:
                if active is not None:
                    _end(active, call)

        return handle


class _Calls:
    """Begins the spans of one method."""

    def __init__(self, tracer: ServiceTracer, method: Method) -> None:
        self._tracer = tracer
        _, service, name = labels_of(method)
        self._name = f"{service}/{name}" if method.served else name
        self._attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}

    def begin(self, call: Call | None) -> ActiveSpan | None:
        """Begin the span of a call, and set the trace that the call passes on. Return None if it is not sampled."""
        if call is None:
            return None
        trace = call.trace
        if trace is not None and not trace.is_sampled:
            return None
        begun = self._tracer.begin_call(
            self._name, None if trace is None else (trace.trace_id, trace.parent_id), self._attributes
        )
        flags = "00" if begun.active is None else "01"
        call.trace = Trace(begun.trace_id, begun.span_id, flags, "" if trace is None else trace.parent_id)
        return begun.active


def _end(active: ActiveSpan, call: Call | None) -> None:
    assert call is not None
    active.note("hutong.request_id", call.request_id)
    active.note("hutong.role", call.caller.role)
    active.note("rpc.grpc.status_code", grpc.StatusCode[call.code].value[0])
    if call.reason:
        active.note("hutong.reason", call.reason)
    if call.code in _FAULTS:
        active.fail(call.reason or call.code)
    active.end()
