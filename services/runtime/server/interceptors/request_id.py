"""Request id: gives every call an id and a span in the caller's trace.

The id is the caller's `x-request-id` or a new UUID.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from services.runtime.call import ACCEPT_LANGUAGE, CASE, REQUEST_ID, TRACE_PARENT, Call, Trace, current_call
from services.runtime.ids import uuid7
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler
from services.runtime.server.interceptors.metrics import labels_of
from services.runtime.tracing.spans import current_span

if TYPE_CHECKING:
    from services.runtime.tracing.recording import ActiveSpan, ServiceTracer

_SANE = re.compile(r"(?!.*[0-9]{15})[0-9A-Za-z._-]{1,64}")
"""The accepted ids. They have no 15 digits in a row, because an id is logged and must not be a document's number."""
_CASE = re.compile(r"(?=.*[!-~])(?!.*[0-9]{15})[ -\[\]-~]{1,64}")
"""The accepted cases: printable ASCII without a backslash. A case of spaces alone names nothing and is refused. Like an
id, a case has no 15 digits in a row, because the audit records it."""
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""The codes that OpenTelemetry counts as errors of the server. Other codes are errors of the caller."""


class RequestId:
    """Makes the `Call`. Its id is in every log line about the call.

    Records the span of the call if there is a tracer.
    """

    def __init__(self, tracer: ServiceTracer | None = None) -> None:
        self._tracer = tracer

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Set the current call, go on, and end the call."""
        calls = self._traced(method)

        async def handle(request: Any, context: Context) -> Any:
            call, active = _begin(context, calls)
            try:
                return await proceed(request, context)
            finally:
                _end(call, active)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Set the current call, go on, and end the call.

        A stream may last for days, so its messages have their own traces.

        """
        calls = self._traced(method)

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            call, active = _begin(context, calls)
            try:
                async for response in proceed(request, context):
                    yield response
            finally:
                _end(call, active)

        return handle

    def _traced(self, method: Method) -> _TracedCalls | None:
        return None if self._tracer is None else _TracedCalls(self._tracer, method)


class _TracedCalls:
    """Begins the spans of one method."""

    def __init__(self, tracer: ServiceTracer, method: Method) -> None:
        self._tracer = tracer
        _, service, name = labels_of(method)
        self._name = f"{service}/{name}" if method.served else name
        self._attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}

    def begin(self, call: Call) -> ActiveSpan | None:
        """Begin the span of a call, and set the trace that the call passes on.

        Return None if the trace is not sampled.
        """
        trace = call.trace
        if trace is not None and not trace.is_sampled:
            return None
        begun = self._tracer.begin_call(
            self._name, None if trace is None else (trace.trace_id, trace.parent_id), self._attributes
        )
        flags = "00" if begun.active is None else "01"
        call.trace = Trace(begun.trace_id, begun.span_id, flags, "" if trace is None else trace.parent_id)
        return begun.active


def _begin(context: Context, calls: _TracedCalls | None) -> tuple[Call, ActiveSpan | None]:
    call = _open_call(context)
    current_call.set(call)
    active = None if calls is None else calls.begin(call)
    current_span.set(active)
    return call, active


def _end(call: Call, active: ActiveSpan | None) -> None:
    if call.at_end is not None:
        call.at_end(call)
    if active is None:
        return
    active.note("hutong.request_id", call.request_id)
    active.note("hutong.role", call.caller.role)
    active.note("rpc.grpc.status_code", grpc.StatusCode[call.code].value[0])
    if call.reason:
        active.note("hutong.reason", call.reason)
    if call.code in _FAULTS:
        active.fail(call.reason or call.code)
    active.end()


def _open_call(context: Context) -> Call:
    request_id, trace, case, languages = "", None, "", ""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and not request_id and _SANE.fullmatch(value):
            request_id = value
        elif key == TRACE_PARENT and isinstance(value, str):
            trace = Trace.from_header(value)
        elif key == CASE and isinstance(value, str) and _CASE.fullmatch(value):
            case = value
        elif key == ACCEPT_LANGUAGE and isinstance(value, str):
            languages = value
    return Call(request_id or uuid7(), trace, case, languages)
