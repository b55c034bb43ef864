"""A channel of gRPC's asyncio API whose calls raise `hutong_client.errors`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, Self

import grpc

from hutong_client.calls import CallOptions
from hutong_client.errors import HutongError, from_rpc_error
from hutong_client.errors.mapping import REQUEST_ID
from hutong_client.request_ids import with_request_id
from hutong_client.throttle import CallEnd, Refusals

_OVERWRITTEN = "Internal error from Core"
"""The details text of the status that grpc.aio itself makes when it cannot write a message."""


class _Call:
    """A wrapper of a call that raises Hutong errors and passes everything else on to the call."""

    def __init__(self, call: Any, request_id: str) -> None:
        self._call = call
        self._request_id = request_id
        self._first: grpc.aio.AioRpcError | None = None

    def keep_first_status(self) -> Self:
        """Make a call that writes a stream fail with the status of the service. Return this wrapper."""
        self._call.add_done_callback(self._keep_first)
        return self

    def _keep_first(self, call: Any) -> None:
        """Keep the first status of the call.

        If the service ends a stream while a message is written, grpc.aio overwrites the service's status with a status
        of its own (https://github.com/grpc/grpc/issues/36066). The callback runs for each status.
        """
        if self._first is None:
            self._first = grpc.aio.AioRpcError(
                _now(call.code()),
                _now(call.initial_metadata()) or grpc.aio.Metadata(),
                _now(call.trailing_metadata()) or grpc.aio.Metadata(),
                _now(call.details()),
            )

    def _error(self, error: grpc.RpcError) -> HutongError | None:
        """Return the exception for an error of gRPC; None if the service ended the call without an error."""
        if self._first is not None and isinstance(error, grpc.aio.AioRpcError) and error.details() == _OVERWRITTEN:
            error = self._first
            if self._first.code() is grpc.StatusCode.OK:
                return None
        return from_rpc_error(error, self._request_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._mapped(self._call).__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for message in self._call:
                yield message
        except grpc.RpcError as error:
            if (failed := self._error(error)) is not None:
                raise failed from error

    async def read(self) -> Any:
        """Return the next message of the service, or grpc.aio.EOF."""
        return await self._mapped(self._call.read(), grpc.aio.EOF)

    async def write(self, message: Any) -> None:
        """Send a message."""
        await self._mapped(self._call.write(message))

    async def done_writing(self) -> None:
        """Close the sending side."""
        await self._mapped(self._call.done_writing())

    async def _mapped(self, waited: Awaitable[Any], ended: Any = None) -> Any:
        try:
            return await waited
        except grpc.RpcError as error:
            if (failed := self._error(error)) is not None:
                raise failed from error
            return ended


class _UnaryCall(_Call):
    """A unary call, whose end is noted."""

    def __init__(self, call: Any, request_id: str, refusals: Refusals) -> None:
        super().__init__(call, request_id)
        self._end = CallEnd(refusals)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._noted().__await__()

    async def _noted(self) -> Any:
        try:
            response = await self._mapped(self._call)
        except HutongError as error:
            self._end.note(error)
            raise
        self._end.note(None)
        return response


class _HeldCall(_Call):
    """A unary call that is not sent, because the service is overloaded. It has ended with an error."""

    def __init__(self, error: HutongError) -> None:
        super().__init__(None, error.request_id)
        self._failed = error

    def __await__(self) -> Generator[Any, None, Any]:
        raise self._failed
        yield

    async def code(self) -> grpc.StatusCode:
        """Return the code of the error."""
        return self._failed.code

    async def details(self) -> str:
        """Return the text of the error."""
        return self._failed.message

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Return no metadata, because no service has answered."""
        return grpc.aio.Metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Return the id of the call, as a service does in its trailing metadata."""
        return grpc.aio.Metadata((REQUEST_ID, self._request_id))

    async def wait_for_connection(self) -> None:
        """Raise the error with which the call has ended."""
        raise self._failed

    def time_remaining(self) -> float | None:
        """Return None, because the call has ended."""
        return None

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call the callback at once, because the call has ended."""
        callback(self)

    def done(self) -> bool:
        """Return True."""
        return True

    def cancel(self) -> bool:
        """Return False: the call has ended."""
        return False

    def cancelled(self) -> bool:
        """Return False: the call has ended with another error."""
        return False


def _now(ready: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that has nothing to wait for; None if the coroutine waits nevertheless."""
    try:
        ready.send(None)
    except StopIteration as done:
        return done.value
    ready.close()
    return None


class Channel:
    """The parts of `grpc.aio.Channel` that stubs use.

    A request whose field `request_id` is empty gets a new id, so that gRPC may repeat the call. While the service is
    overloaded, a part of the unary calls is held back.
    """

    def __init__(self, channel: grpc.aio.Channel, options: CallOptions) -> None:
        self._channel = channel
        self._options = options

    async def close(self) -> None:
        """Close the channel at once."""
        await self._channel.close()

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a unary method."""
        method, refusals = self._channel.unary_unary(*arguments, **options), Refusals()

        def call(request: Any, **given: Any) -> _Call:
            if given.get("timeout") is None:
                given["timeout"] = self._options.timeout
            given["metadata"], request_id = self._options.prepare(given.get("metadata"))
            if (held := refusals.of_next(request_id)) is not None:
                return _HeldCall(held)
            return _UnaryCall(method(with_request_id(request), **given), request_id, refusals)

        return call

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a method whose response is a stream."""
        return partial(self._call, self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a method whose request is a stream."""
        return partial(self._call, self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a method with streams in both directions."""
        method = self._channel.stream_stream(*arguments, **options)
        return lambda *given, **call_options: self._call(method, *given, **call_options).keep_first_status()

    def _call(self, method: Callable[..., Any], *arguments: Any, **given: Any) -> _Call:
        metadata, request_id = self._options.prepare(given.get("metadata"))
        return _Call(method(*arguments, **given | {"metadata": metadata}), request_id)
