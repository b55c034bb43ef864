"""A method as the layers see it, and the two kinds of handlers that they wrap."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Context: TypeAlias = Any
"""grpc.aio.ServicerContext. Its type stubs lack what the layers use of it."""
UnaryHandler: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
"""Takes a request or an iterator of requests, and returns one response."""
StreamHandler: TypeAlias = Callable[[Any, Context], AsyncIterator[Any]]
"""Takes a request or an iterator of requests, and yields responses."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its full name, such as "/hutong.results.v1.ResultsService/GetResult", and which of its sides stream."""

    name: str
    request_streaming: bool
    response_streaming: bool
    served: bool = True
    """Whether a service of this server serves the name."""

    @property
    def kind(self) -> str:
        """The attribute of a gRPC handler that holds the function, such as "unary_unary"."""
        return f"{_shape(self.request_streaming)}_{_shape(self.response_streaming)}"


def _shape(streaming: bool) -> str:
    return "stream" if streaming else "unary"
