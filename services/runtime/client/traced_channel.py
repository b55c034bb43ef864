"""A channel whose unary calls are recorded as spans, with the trace in their metadata."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

from services.runtime.call import TRACE_PARENT
from services.runtime.tracing.spans import current_span

if TYPE_CHECKING:
    from services.runtime.tracing.recording import ActiveSpan


class TracedChannel:
    """A channel of gRPC that wraps another channel. Stubs use it in place of the wrapped channel.

    gRPC's own interceptors would put every call into a task, even if it is not recorded. Calls with streams are passed
    on unchanged, because such a call may last for days and each of its messages has its own trace.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._ending: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def __aenter__(self) -> TracedChannel:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._channel.__aexit__(*error)

    def unary_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Return the function that calls a method."""
        inner = self._channel.unary_unary(method, *arguments, **named)
        _, service, name = method.split("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}

        def begin(request: Any, *, metadata: Any = None, **options: Any) -> Any:
            parent = current_span.get()
            if parent is None:
                return inner(request, metadata=_unsampled(metadata), **options)
            active = parent.child(f"{service}/{name}", attributes, is_client=True)
            carried = [pair for pair in metadata or () if pair[0] != TRACE_PARENT]
            call = inner(request, metadata=(*carried, (TRACE_PARENT, active.to_header())), **options)
            call.add_done_callback(lambda ended: self._end(active, ended))
            return call

        return begin

    def _end(self, active: ActiveSpan, call: Any) -> None:
        ending = asyncio.get_running_loop().create_task(_end(active, call))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _unsampled(metadata: Any) -> Any:
    """Mark the trace in the metadata as not sampled. This process does not record the cause of the call.

    An example is a question in a stream whose own trace is sampled. Without the mark, the other service would record
    the calls of all questions in the trace of the stream.
    """
    if not any(key == TRACE_PARENT for key, _ in metadata or ()):
        return metadata
    return [(key, f"{value[:-2]}00" if key == TRACE_PARENT else value) for key, value in metadata]


async def _end(active: ActiveSpan, call: Any) -> None:
    code: grpc.StatusCode = await call.code()
    active.note("rpc.grpc.status_code", code.value[0])
    if code is not grpc.StatusCode.OK:
        active.fail(code.name)
    active.end()
