"""What layers know of a method, and the two shapes of handlers they wrap."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Context: TypeAlias = Any
"""grpc.aio.ServicerContext; its stubs do not type what the layers use of it."""
UnaryHandler: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
"""Takes a request, or an iterator of them, and returns one response."""
StreamHandler: TypeAlias = Callable[[Any, Context], AsyncIterator[Any]]
"""Takes a request, or an iterator of them, and yields responses."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method by its full name, "/hutong.results.v1.ResultsService/GetResult", and its shape."""

    name: str
    request_streaming: bool
    response_streaming: bool
    served: bool = True
    """False for a name that a caller made up."""

    @property
    def kind(self) -> str:
        """The attribute of a gRPC handler that holds its behaviour: "unary_unary" and so on."""
        return f"{_shape(self.request_streaming)}_{_shape(self.response_streaming)}"


def _shape(streaming: bool) -> str:
    return "stream" if streaming else "unary"
