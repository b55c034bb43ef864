"""What the connection adds to every call, and the interceptor that adds this in the synchronous API.

A call gets the connection's metadata, the language of the process and an `x-request-id`. A unary call without a timeout
gets the timeout of the connection. Failures become `hutong_client.errors`. While a service is overloaded, a part of the
unary calls is held back.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import grpc

from hutong_client.errors.mapping import REQUEST_ID, from_rpc_error
from hutong_client.request_ids import with_request_id
from hutong_client.request_languages import with_language
from hutong_client.throttle import CallEnd, Refusals

Proceed = Callable[[Any, Any], Any]
Metadata = Iterable[tuple[str, str | bytes]]


class ConnectOptions(TypedDict, total=False):
    """The optional arguments of `connect`, which `CallOptions` documents."""

    timeout: float | None
    attempts: int | None
    proxy: str | None
    metadata: Metadata | Callable[[], Metadata]
    compression: grpc.Compression | None
    interceptors: Sequence[Any]


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The options of a connection: of all its calls and of its channels.

    Attributes:
        timeout: the deadline, in seconds, of unary calls that are made without a timeout; None for no deadline.
        attempts: how often a repeatable call is tried at most, from 1 to 5; None for the number in the table shared by
            all clients.
        proxy: the HTTP proxy, as "http://proxy:3128". None means that gRPC takes the environment's `https_proxy` or
            `http_proxy`, and "" that gRPC uses no proxy.
        metadata: entries for every call, or a function that returns the entries anew for each call, as for tokens that
            expire.
        compression: how requests are compressed; None for no compression.
        interceptors: gRPC's client interceptors, for the same API as the connection (synchronous or asyncio). The
            interceptors see gRPC's own errors.
    """

    timeout: float | None = None
    attempts: int | None = None
    proxy: str | None = None
    metadata: Metadata | Callable[[], Metadata] = ()
    compression: grpc.Compression | None = None
    interceptors: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if self.attempts is not None and not 1 <= self.attempts <= 5:
            raise ValueError("attempts must be from 1 to 5")

    def prepare(self, metadata: Any) -> tuple[tuple[tuple[str, str | bytes], ...], str]:
        """Return the call's metadata together with what the connection adds, and the call's request id.

        An entry of the call replaces an entry of the connection with the same key.
        """
        given = tuple(metadata or ())
        keys = {key for key, _ in given}
        added = self.metadata() if callable(self.metadata) else self.metadata
        given += tuple((key, value) for key, value in added if key not in keys)
        given = tuple(with_language(given) or ())
        request_id = next((value for key, value in given if key == REQUEST_ID), None)
        if request_id is None:
            request_id = str(uuid.uuid4())
            given += ((REQUEST_ID, request_id),)
        return given, str(request_id)


class _Details(NamedTuple):
    """gRPC's details of a call, as interceptors pass them on."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Call:
    """A wrapper of a call that raises Hutong errors and passes everything else on to the call."""

    def __init__(self, call: Any, request_id: str, refusals: Refusals | None = None) -> None:
        """`refusals` notes how a unary call ends."""
        self._call = call
        self._request_id = request_id
        self._end = CallEnd(refusals)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._request_id) from error

    def result(self, timeout: float | None = None) -> Any:
        """Return the response of a unary call."""
        try:
            response = self._call.result(timeout)
        except grpc.RpcError as error:
            failed = from_rpc_error(error, self._request_id)
            self._end.note(failed)
            raise failed from error
        self._end.note(None)
        return response


class Calls(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Client interceptor for the three kinds of call that the contract uses."""

    def __init__(self, options: CallOptions) -> None:
        self._options = options
        self._refusals: defaultdict[str, Refusals] = defaultdict(Refusals)

    def intercept_unary_unary(self, continuation: Proceed, client_call_details: Any, request: Any) -> Any:
        """Make a unary call. Raise its error at once if the service is overloaded and the call is held back."""
        details, request_id = self._prepare(client_call_details, self._options.timeout)
        refusals = self._refusals[details.method]
        if (held := refusals.of_next(request_id)) is not None:
            raise held
        return _Call(continuation(details, with_request_id(request)), request_id, refusals)

    def intercept_unary_stream(self, continuation: Proceed, client_call_details: Any, request: Any) -> Any:
        """Begin a watch."""
        details, request_id = self._prepare(client_call_details)
        return _Call(continuation(details, request), request_id)

    def intercept_stream_stream(self, continuation: Proceed, client_call_details: Any, request_iterator: Any) -> Any:
        """Begin an upload or a gate's stream."""
        details, request_id = self._prepare(client_call_details)
        return _Call(continuation(details, request_iterator), request_id)

    def _prepare(self, given: Any, timeout: float | None = None) -> tuple[_Details, str]:
        metadata, request_id = self._options.prepare(given.metadata)
        details = _Details(
            given.method,
            timeout if given.timeout is None else given.timeout,
            metadata,
            given.credentials,
            given.wait_for_ready,
            given.compression,
        )
        return details, request_id
