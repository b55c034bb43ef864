"""Metrics of calls for Prometheus, with the names and labels that dashboards for gRPC expect.

The calls in flight are `grpc_server_started_total` minus `grpc_server_handled_total`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import Counter, Histogram

from services.runtime.call import Call, current_call
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LABELS = ["grpc_type", "grpc_service", "grpc_method"]
STARTED = Counter("grpc_server_started_total", "Calls that have begun, by role", [*LABELS, "role"])
HANDLED = Counter("grpc_server_handled_total", "Calls that have ended, by code", [*LABELS, "role", "grpc_code"])
SECONDS = Histogram("grpc_server_handling_seconds", "Duration of unary calls in seconds", LABELS, buckets=_BUCKETS)

NOT_SERVED = "(not served)"
"""The service and method label of all unknown methods. Callers therefore cannot create series by inventing names."""
UNKNOWN_ROLE = "unknown"
"""The role label of a caller that is not known. No label names a caller, because the number of callers is unlimited."""


class Metrics:
    """Counts each call when it begins and when it ends."""

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Count and time the call."""
        labels = labels_of(method)
        seconds, by_role = SECONDS.labels(*labels), _ByRole(labels)

        async def handle(request: Any, context: Context) -> Any:
            start = time.perf_counter()
            call = current_call.get()
            role, started, ok = by_role.of(call)
            started.inc()
            try:
                response = await proceed(request, context)
                ok.inc()
                return response
            except BaseException:
                _count_failure(labels, role, call)
                raise
            finally:
                seconds.observe(time.perf_counter() - start)

        return handle

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Count the call. It is not timed, because the duration of a stream says little."""
        labels = labels_of(method)
        by_role = _ByRole(labels)

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            call = current_call.get()
            role, started, ok = by_role.of(call)
            started.inc()
            try:
                async for response in proceed(request, context):
                    yield response
                ok.inc()
            except BaseException:
                _count_failure(labels, role, call)
                raise

        return handle


class _ByRole:
    """The counters of one method, for each role that has called the method."""

    def __init__(self, labels: tuple[str, str, str]) -> None:
        self._labels = labels
        self._counters: dict[str, tuple[str, Counter, Counter]] = {}

    def of(self, call: Call | None) -> tuple[str, Counter, Counter]:
        """Return the caller's role and two counters of that role: calls that began, and calls that ended OK."""
        role = (call.caller.role if call is not None else "") or UNKNOWN_ROLE
        found = self._counters.get(role)
        if found is None:
            found = role, STARTED.labels(*self._labels, role), HANDLED.labels(*self._labels, role, "OK")
            self._counters[role] = found
        return found


def labels_of(method: Method) -> tuple[str, str, str]:
    """Return the values of LABELS for a method."""
    shape = {
        (False, False): "unary",
        (True, False): "client_stream",
        (False, True): "server_stream",
        (True, True): "bidi_stream",
    }[method.request_streaming, method.response_streaming]
    if not method.served:
        return shape, NOT_SERVED, NOT_SERVED
    _, service, name = method.name.split("/")
    return shape, service, name


def _count_failure(labels: tuple[str, str, str], role: str, call: Call | None) -> None:
    code = call.code if call is not None and call.code != "OK" else "CANCELLED"
    HANDLED.labels(*labels, role, _CODES.get(code, code)).inc()


_CODES = {
    "CANCELLED": "Canceled",
    "UNKNOWN": "Unknown",
    "INVALID_ARGUMENT": "InvalidArgument",
    "DEADLINE_EXCEEDED": "DeadlineExceeded",
    "NOT_FOUND": "NotFound",
    "ALREADY_EXISTS": "AlreadyExists",
    "PERMISSION_DENIED": "PermissionDenied",
    "RESOURCE_EXHAUSTED": "ResourceExhausted",
    "FAILED_PRECONDITION": "FailedPrecondition",
    "ABORTED": "Aborted",
    "OUT_OF_RANGE": "OutOfRange",
    "UNIMPLEMENTED": "Unimplemented",
    "INTERNAL": "Internal",
    "UNAVAILABLE": "Unavailable",
    "DATA_LOSS": "DataLoss",
    "UNAUTHENTICATED": "Unauthenticated",
}
"""The codes in Go's spelling, which stock dashboards match."""
