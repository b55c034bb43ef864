"""A server whose methods a check supplies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tests.support.servers import add_handler, bare_server

Answer = Callable[..., Any]
"""An asynchronous function of the request, or of an iterator of requests. A streaming method's is a generator."""


class Failure(Exception):
    """Ends a call with a status."""

    def __init__(self, code: grpc.StatusCode, details: Sequence[Message] = (), pushback: str = "") -> None:
        super().__init__(code.name)
        self.code = code
        self.pushback = pushback
        self.status = status_pb2.Status(code=code.value[0], message=f"it is {code.name.lower()}")
        for detail in details:
            self.status.details.add().Pack(detail)


def failure(
    code: grpc.StatusCode, reason: str, *, retry_seconds: float | None = None, domain: str = "hutong.org"
) -> Failure:
    """Return a failure with the details and the trailer that the services give. A negative delay forbids a retry."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata={"field": "x"})]
    if retry_seconds is None or code is not grpc.StatusCode.UNAVAILABLE:
        pushback = ""
    else:
        pushback = "-1" if retry_seconds < 0 else str(round(retry_seconds * 1000))
    if retry_seconds is not None and retry_seconds >= 0:
        details.append(error_details_pb2.RetryInfo(retry_delay=Duration(nanos=round(retry_seconds * 1e9))))
    return Failure(code, details, pushback)


def find_method(path: str) -> Any:
    """Return the descriptor of a method, as "hutong.results.v1.LabService/GetLab"."""
    service, _, method = path.strip("/").rpartition("/")
    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]  # type: ignore[no-untyped-call]


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers

    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method.strip("/")
        if path not in self._answers:
            return None
        method = find_method(path)
        request = message_factory.GetMessageClass(method.input_type)
        kind = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        made = _streaming(self._answers[path]) if method.server_streaming else _unary(self._answers[path])
        return kind(made, request.FromString, lambda message: message.SerializeToString())


def _unary(answer: Answer) -> Callable[[Any, Any], Awaitable[Any]]:
    async def handle(request: Any, context: Any) -> Any:
        try:
            return await answer(request)
        except Failure as failed:
            await _abort(context, failed)

    return handle


def _streaming(answer: Answer) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for message in answer(request):
                yield message
        except Failure as failed:
            await _abort(context, failed)

    return handle


async def _abort(context: Any, failed: Failure) -> None:
    trailers: list[tuple[str, str | bytes]] = []
    if failed.status.details:
        trailers.append(("grpc-status-details-bin", failed.status.SerializeToString()))
    if failed.pushback:
        trailers.append(("grpc-retry-pushback-ms", failed.pushback))
    await context.abort(failed.code, failed.status.message, tuple(trailers))


def serving_fake(answers: Mapping[str, Answer]) -> AbstractAsyncContextManager[str]:
    """Serve methods by their paths until the block ends. The context is the address."""
    return bare_server(add_handler, _Handler(answers))
