"""StreamVerify: a gate that never hangs up. Questions on one stream are answered side by side, each as it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hutong.verification.v1.verification_service_pb2 import StreamVerifyRequest, StreamVerifyResponse

from services.domain.errors import InvalidArgument
from services.runtime.status import to_status
from services.runtime.unit import Drain
from services.runtime.validation import check
from services.verification.desk import DecisionDesk

QUESTIONS_AT_ONCE = 64
"""Questions of one stream under way; beyond them it is not read, and flow control holds the gate back."""


class GateDesk:
    """Answers streams. An idle one costs a waiting reader and an empty queue."""

    def __init__(self, desk: DecisionDesk, drain: Drain) -> None:
        self._desk = desk
        self._drain = drain
        self._streams: set[_Stream] = set()
        self._closer: asyncio.Task[None] | None = None

    @property
    def open_count(self) -> int:
        """Streams that are open now."""
        return len(self._streams)

    def start(self) -> None:
        """Begin to wait for the drain: one task for all streams."""
        self._closer = asyncio.get_running_loop().create_task(self._close_streams())

    def close(self) -> None:
        """Stop waiting."""
        if self._closer is not None:
            self._closer.cancel()

    async def serve(self, requests: AsyncIterator[StreamVerifyRequest]) -> AsyncIterator[StreamVerifyResponse]:
        """Answer a stream until the gate half-closes it, breaks it off, or the server drains."""
        stream = _Stream(self._desk, requests)
        self._streams.add(stream)
        try:
            async for answer in stream.answers():
                yield answer
        finally:
            self._streams.discard(stream)
            stream.abandon()

    async def _close_streams(self) -> None:
        await self._drain.wait()
        for stream in list(self._streams):
            stream.end()


class _Stream:
    """One gate's stream: a reader that starts an answer for each question, and a queue of those that are ready."""

    def __init__(self, desk: DecisionDesk, requests: AsyncIterator[StreamVerifyRequest]) -> None:
        self._desk = desk
        self._requests = requests
        self._ready: asyncio.Queue[StreamVerifyResponse | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._reader = asyncio.get_running_loop().create_task(self._read())
        self._reader.add_done_callback(self._note_end)

    async def answers(self) -> AsyncIterator[StreamVerifyResponse]:
        """The answers as they become ready; ends when the last question has its own."""
        while True:
            answer = await self._ready.get()
            if answer is not None:
                yield answer
            elif not self._under_way and self._ready.empty():
                break
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Take no more questions; those under way are still answered."""
        self._reader.cancel()

    def abandon(self) -> None:
        """The gate is gone: stop everything."""
        self._reader.cancel()
        for task in list(self._under_way):
            task.cancel()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        async for request in self._requests:
            await self._room.acquire()
            task = loop.create_task(self._answer(request))
            self._under_way.add(task)
            task.add_done_callback(self._note_answer)

    async def _answer(self, request: StreamVerifyRequest) -> None:
        response = StreamVerifyResponse(correlation_id=request.correlation_id)
        try:
            if not request.HasField("request"):
                raise InvalidArgument.field("request", "value is required")
            check(request.request)
            response.decision.CopyFrom(await self._desk.verify(request.request))
        except Exception as error:  # noqa: BLE001 - as at the edge of a unary call: one question's failure is its own
            response.error.CopyFrom(to_status(error))
        self._ready.put_nowait(response)

    def _note_answer(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._room.release()
        if self._reader.done() and not self._under_way:
            self._ready.put_nowait(None)

    def _note_end(self, reader: asyncio.Task[None]) -> None:
        self._failure = None if reader.cancelled() else reader.exception()
        self._ready.put_nowait(None)
