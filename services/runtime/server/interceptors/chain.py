"""The ordered chain of layers around every method, as one generic handler.

gRPC would walk its interceptors anew for each call, and for methods that are registered with it one by one it waits
with a future for each, at a cost that every call pays for all of them. Here each method's handler is wrapped once and
found by its name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from services.runtime.server.interceptors.access_log import AccessLog
from services.runtime.server.interceptors.admission import Admission
from services.runtime.server.interceptors.deadline import Deadline
from services.runtime.server.interceptors.decoding import marking_unreadable
from services.runtime.server.interceptors.error_status import ErrorStatus
from services.runtime.server.interceptors.method import Method, StreamHandler, UnaryHandler
from services.runtime.server.interceptors.metrics import Metrics
from services.runtime.server.interceptors.request_id import RequestId
from services.runtime.server.interceptors.validation import Validation

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


class Routes(grpc.GenericRpcHandler):
    """Every method of a server, wrapped in the layers. Generated code registers its servicers here as with a server."""

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers
        self._handlers: dict[str, Any] = {}

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Take a service's methods."""
        for method, plain in handlers.items():
            name = f"/{service}/{method}"
            self._handlers[name] = plain if name.startswith(PLUMBING) else self._wrap(name, plain)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """The same methods once more, as generated code passes them for servers of old."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of the method that is called; for a method nobody serves, one that says so."""
        name: str = handler_call_details.method
        handler = self._handlers.get(name)
        if handler is None:
            # Not remembered: its name is the caller's invention.
            return self._wrap(name, grpc.stream_stream_rpc_method_handler(_not_served), served=False)
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
