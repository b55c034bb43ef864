"""The ordered chain of layers around every method. A single generic handler serves all methods.

Each method's handler is wrapped once and found by name. gRPC's own interceptors would build the chain anew for each
call. If methods were registered with gRPC, it would keep a waiting future for each, which makes every call slower.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from services.runtime.server.interceptors.access_log import AccessLog
from services.runtime.server.interceptors.admission import Admission
from services.runtime.server.interceptors.audit import Audit
from services.runtime.server.interceptors.authorization import Authorization
from services.runtime.server.interceptors.budgets import Budgets
from services.runtime.server.interceptors.deadline import Deadline
from services.runtime.server.interceptors.decoding import mark_unreadable, refuse_unreadable
from services.runtime.server.interceptors.error_status import ErrorStatus
from services.runtime.server.interceptors.identity import Identity
from services.runtime.server.interceptors.method import Context, Method, StreamHandler, UnaryHandler
from services.runtime.server.interceptors.metrics import Metrics
from services.runtime.server.interceptors.open_streams import OpenStreams
from services.runtime.server.interceptors.request_id import RequestId
from services.runtime.server.interceptors.validation import Validation

HEALTH = "/grpc.health."
"""The beginning of the names of health's methods. They have few layers, because every caller with a certificate of the
client authorities may ask. Also, the handler of a watch of health is not a generator."""


class Layer(Protocol):
    """A concern that wraps every handler."""

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Wrap a handler that returns one response."""
        ...

    def around_stream(self, method: Method, proceed: StreamHandler) -> StreamHandler:
        """Wrap a handler that yields responses."""
        ...


class HealthLayer(Protocol):
    """A concern that wraps the handlers of health, all of which are coroutines."""

    def around_unary(self, method: Method, proceed: UnaryHandler) -> UnaryHandler:
        """Wrap a handler."""
        ...


def ordered_layers(
    request_id: RequestId,
    identity: Identity,
    audit: Audit,
    open_streams: OpenStreams,
    authorization: Authorization,
    budgets: Budgets,
    admission: Admission,
    deadline_seconds: float,
) -> list[Layer]:
    """Return the layers, outermost first. An outer layer sees the effect of all layers inside it."""
    return [
        request_id,
        identity,
        AccessLog(),
        Metrics(),
        ErrorStatus(),
        audit,
        open_streams,
        authorization,
        budgets,
        admission,
        Deadline(deadline_seconds),
        Validation(),
    ]


@dataclass(frozen=True, slots=True)
class _Handler:
    """A wrapped method handler with the attributes that gRPC reads."""

    request_streaming: bool
    response_streaming: bool
    request_deserializer: Any
    response_serializer: Any
    unary_unary: Any = None
    unary_stream: Any = None
    stream_unary: Any = None
    stream_stream: Any = None


class Routes(grpc.GenericRpcHandler):
    """Every method of a server, wrapped in the layers.

    Generated code registers servicers with this object as it does with a server.

    Methods of health have layers of their own, outermost first.

    """

    def __init__(self, layers: list[Layer], health_layers: Sequence[HealthLayer]) -> None:
        self._layers = layers
        self._health_layers = health_layers
        self._handlers: dict[str, Any] = {}

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Wrap and keep the methods of a service."""
        for method, plain in handlers.items():
            name = f"/{service}/{method}"
            self._handlers[name] = (
                self._wrap_health(name, plain) if name.startswith(HEALTH) else self._wrap(name, plain)
            )

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing. `add_registered_method_handlers` gets the same methods.

        Generated code calls both functions, because servers of older grpcio need this one.
        """

    def handlers_of(self, services: Sequence[str]) -> list[tuple[Method, Any]]:
        """Return the methods of some services and their handlers."""
        prefixes = tuple(f"/{service}/" for service in services)
        return [
            (Method(name, handler.request_streaming, handler.response_streaming), handler)
            for name, handler in self._handlers.items()
            if name.startswith(prefixes)
        ]

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of the called method. The handler of an unknown method ends with NOT_SERVED."""
        name: str = handler_call_details.method
        handler = self._handlers.get(name)
        if handler is None:
            # The handler is not kept, because callers could invent any number of names.
            return self._wrap(name, grpc.stream_stream_rpc_method_handler(_not_served), served=False)
        return handler

    def _wrap_health(self, name: str, plain: Any) -> _Handler:
        method = Method(name, plain.request_streaming, plain.response_streaming, served=True)
        proceed = getattr(plain, method.kind)

        async def answer(request: Any, context: Context) -> Any:
            refuse_unreadable(request)
            return await proceed(request, context)

        wrapped: Any = answer
        for layer in reversed(self._health_layers):
            wrapped = layer.around_unary(method, wrapped)
        return _handler(plain, method, wrapped)

    def _wrap(self, name: str, plain: Any, *, served: bool = True) -> _Handler:
        method = Method(name, plain.request_streaming, plain.response_streaming, served)
        wrapped = getattr(plain, method.kind)
        for layer in reversed(self._layers):
            if plain.response_streaming:
                wrapped = layer.around_stream(method, wrapped)
            else:
                wrapped = layer.around_unary(method, wrapped)
        return _handler(plain, method, wrapped)


def _handler(plain: Any, method: Method, wrapped: Any) -> _Handler:
    return _Handler(
        plain.request_streaming,
        plain.response_streaming,
        mark_unreadable(plain.request_deserializer),
        plain.response_serializer,
        **{method.kind: wrapped},
    )


async def _not_served(_requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    raise NotImplementedError
    yield b""
