"""The ordered chain of layers, as one gRPC interceptor.

gRPC would walk its interceptors anew for each call. Here each method's handler is wrapped once, when it is first
called, so that a call pays for what the layers do and not for finding them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from services.runtime.interceptors.access_log import AccessLog
from services.runtime.interceptors.admission import Admission
from services.runtime.interceptors.deadline import Deadline
from services.runtime.interceptors.decoding import marking_unreadable
from services.runtime.interceptors.error_status import ErrorStatus
from services.runtime.interceptors.method import Method, StreamHandler, UnaryHandler
from services.runtime.interceptors.metrics import Metrics
from services.runtime.interceptors.request_id import RequestId
from services.runtime.interceptors.validation import Validation

PLUMBING = ("/grpc.health.", "/grpc.reflection.")
"""Services of the runtime itself: nothing to log, limit or validate, and their handlers are of another make."""


class Layer(Protocol):
    """One concern around every call."""

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Wrap a handler that returns one response."""
        ...

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Wrap a handler that yields responses."""
        ...


def ordered_layers(admission: Admission) -> list[Layer]:
    """The layers, outermost first: what stands earlier sees what those after it did to the call."""
    return [
        RequestId(),
        AccessLog(),
        Metrics(),
        ErrorStatus(),
        admission,
        Deadline(),
        Validation(),
    ]


@dataclass(frozen=True, slots=True)
class _Handler:
    """A method handler as gRPC wants one, wrapped."""

    request_streaming: bool
    response_streaming: bool
    request_deserializer: Any
    response_serializer: Any
    unary_unary: Any = None
    unary_stream: Any = None
    stream_unary: Any = None
    stream_stream: Any = None


class Chain(grpc.aio.ServerInterceptor):
    """Applies the layers to every method of a server."""

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """The wrapped handler of the method that is called; for a method nobody serves, one that says so."""
        name: str = details.method
        handler = self._wrapped.get(name)
        if handler is None:
            plain = await continuation(details)
            if name.startswith(PLUMBING):
                return plain
            if plain is None:
                # Not remembered: its name is the caller's invention.
                return self._wrap(name, grpc.stream_stream_rpc_method_handler(_not_served), served=False)
            handler = self._wrapped[name] = self._wrap(name, plain)
        return handler

    def _wrap(self, name: str, plain: Any, *, served: bool = True) -> _Handler:
        method = Method(name, plain.request_streaming, plain.response_streaming, served)
        kind = method.kind
        wrapped = getattr(plain, kind)
        for layer in reversed(self._layers):
            if plain.response_streaming:
                wrapped = layer.around_stream(method, wrapped)
            else:
                wrapped = layer.around_unary(method, wrapped)
        return _Handler(
            plain.request_streaming,
            plain.response_streaming,
            marking_unreadable(plain.request_deserializer),
            plain.response_serializer,
            **{kind: wrapped},
        )


async def _not_served(_requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    raise NotImplementedError
    yield b""
