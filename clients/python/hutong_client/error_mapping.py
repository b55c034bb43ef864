"""Map the errors that gRPC raises to `hutong_client.errors`, in a client interceptor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from hutong_client.errors import from_rpc_error

Proceed = Callable[[Any, Any], Any]


class _Call:
    """A call whose failures are Hutong errors; in all else the call that it stands for."""

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
        """The response of a unary call."""
        try:
            return self._call.result(timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error


class ErrorMapping(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor
):
    """Maps the failures of every kind of call that the contract has."""

    def intercept_unary_unary(self, continuation: Proceed, client_call_details: Any, request: Any) -> Any:
        """Map the failure of a single answer."""
        return _Call(continuation(client_call_details, request))

    def intercept_unary_stream(self, continuation: Proceed, client_call_details: Any, request: Any) -> Any:
        """Map the failure of a watch."""
        return _Call(continuation(client_call_details, request))

    def intercept_stream_stream(self, continuation: Proceed, client_call_details: Any, request_iterator: Any) -> Any:
        """Map the failure of an upload or a gate's stream."""
        return _Call(continuation(client_call_details, request_iterator))
