"""A channel of gRPC's asyncio API whose calls raise `hutong_client.errors`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import grpc

from hutong_client.errors import from_rpc_error
from hutong_client.request_ids import with_request_id
from hutong_client.request_languages import with_language


class _Call:
    """A wrapper of a call that raises Hutong errors and passes everything else on to the call."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __await__(self) -> Generator[Any, None, Any]:
        return _mapped(self._call).__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for message in self._call:
                yield message
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    async def read(self) -> Any:
        """Return the next message of the service, or grpc.aio.EOF."""
        return await _mapped(self._call.read())

    async def write(self, message: Any) -> None:
        """Send a message."""
        await _mapped(self._call.write(message))

    async def done_writing(self) -> None:
        """Close the sending side."""
        await _mapped(self._call.done_writing())


async def _mapped(waited: Awaitable[Any]) -> Any:
    try:
        return await waited
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


class Channel:
    """The parts of `grpc.aio.Channel` that stubs use.

    Each request that can have a `request_id` gets one, so that gRPC may repeat the call.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def close(self) -> None:
        """Close the channel at once."""
        await self._channel.close()

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a unary method."""
        method = self._channel.unary_unary(*arguments, **options)
        return lambda request, **call_options: _Call(method(with_request_id(request), **_with_language(call_options)))

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a method whose response is a stream."""
        return _wrapped(self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a method whose request is a stream."""
        return _wrapped(self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., _Call]:
        """Return a method with streams in both directions."""
        return _wrapped(self._channel.stream_stream(*arguments, **options))


def _wrapped(method: Callable[..., Any]) -> Callable[..., _Call]:
    return lambda *arguments, **options: _Call(method(*arguments, **_with_language(options)))


def _with_language(options: dict[str, Any]) -> dict[str, Any]:
    metadata = with_language(options.get("metadata"))
    return options | {"metadata": metadata} if metadata else options
