"""A channel of gRPC's asyncio API whose calls raise `hutong_client.errors`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from functools import partial
from typing import Any

import grpc

from hutong_client.calls import CallOptions
from hutong_client.errors import from_rpc_error
from hutong_client.request_ids import with_request_id


class _Call:
    """A wrapper of a call that raises Hutong errors and passes everything else on to the call."""

    def __init__(self, call: Any, request_id: str) -> None:
        self._call = call
        self._request_id = request_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._mapped(self._call).__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for message in self._call:
                yield message
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._request_id) from error

    async def read(self) -> Any:
        """Return the next message of the service, or grpc.aio.EOF."""
        return await self._mapped(self._call.read())

    async def write(self, message: Any) -> None:
        """Send a message."""
        await self._mapped(self._call.write(message))

    async def done_writing(self) -> None:
        """Close the sending side."""
        await self._mapped(self._call.done_writing())

    async def _mapped(self, waited: Awaitable[Any]) -> Any:
        try:
            return await waited
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._request_id) from error


class Channel:
    """The parts of `grpc.aio.Channel` that stubs use.

    Each request that can have a `request_id` gets one, so that gRPC may repeat the call.
    """

    def __init__(self, channel: grpc.aio.Channel, options: CallOptions) -> None:
        self._channel = channel
        self._options = options

    async def close(self) -> None:
        """Close the channel at once."""
        await self._channel.close()

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a unary method."""
        method = self._channel.unary_unary(*arguments, **options)

        def call(request: Any, **given: Any) -> _Call:
            if given.get("timeout") is None:
                given["timeout"] = self._options.timeout
            return self._call(method, with_request_id(request), **given)

        return call

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a method whose response is a stream."""
        return partial(self._call, self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a method whose request is a stream."""
        return partial(self._call, self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a method with streams in both directions."""
        return partial(self._call, self._channel.stream_stream(*arguments, **options))

    def _call(self, method: Callable[..., Any], *arguments: Any, **given: Any) -> _Call:
        metadata, request_id = self._options.prepare(given.get("metadata"))
        return _Call(method(*arguments, **given | {"metadata": metadata}), request_id)
