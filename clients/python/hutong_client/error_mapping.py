"""Map the errors that gRPC raises to `hutong_client.errors`, in a client interceptor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from hutong_client.errors import from_rpc_error

Proceed = Callable[[Any, Any], Any]


class _Call:
    """A wrapper of a call that raises Hutong errors and passes everything else on to the call."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def result(self, timeout: float | None = None) -> Any:
        """Return the response of a unary call."""
        try:
            return self._call.result(timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error


class ErrorMapping(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor
):
    """Client interceptor for the three kinds of call that the contract uses."""

    def intercept_unary_unary(self, continuation: Proceed, client_call_details: Any, request: Any) -> Any:
        """Map the failures of a unary call."""
        return _Call(continuation(client_call_details, request))

    def intercept_unary_stream(self, continuation: Proceed, client_call_details: Any, request: Any) -> Any:
        """Map the failures of a watch."""
        return _Call(continuation(client_call_details, request))

    def intercept_stream_stream(self, continuation: Proceed, client_call_details: Any, request_iterator: Any) -> Any:
        """Map the failures of an upload or of a gate's stream."""
        return _Call(continuation(client_call_details, request_iterator))
