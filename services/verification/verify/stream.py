"""StreamVerify: streams that gates keep open. Questions of all gates are answered together, each as it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    StreamVerifyRequest,
    StreamVerifyResponse,
)

from services.domain.errors import InvalidArgument
from services.runtime.client.coalescer import Coalescer
from services.runtime.server.service import Drain
from services.runtime.server.status import to_status
from services.verification.verify.verifier import Verifier

QUESTIONS_AT_ONCE = 64
"""Questions of one stream under way; beyond them it is not read, and flow control holds the gate back."""


class VerificationStream:
    """Answers streams. An idle one costs a waiting reader and an empty queue."""

    def __init__(self, verifier: Verifier, drain: Drain) -> None:
        self._verifier = verifier
        self._drain = drain
        self._together: Coalescer[StreamVerifyRequest, StreamVerifyResponse] = Coalescer(self._answer_together)
        # Apart, so that no gate that asks its own province waits for a nation that is slow.
        self._nationwide: Coalescer[StreamVerifyRequest, StreamVerifyResponse] = Coalescer(
            self._answer_together, in_flight=4
        )
        self._streams: set[_Stream] = set()

    @property
    def open_count(self) -> int:
        """Streams that are open now."""
        return len(self._streams)

    @property
    def question_count(self) -> int:
        """Questions that are being answered now."""
        return sum(stream.question_count for stream in self._streams)

    async def close_when_drained(self) -> None:
        """Wait for the drain, and end all streams then: one background job for all of them."""
        await self._drain.wait()
        for stream in list(self._streams):
            stream.end()

    async def serve(self, requests: AsyncIterator[StreamVerifyRequest]) -> AsyncIterator[StreamVerifyResponse]:
        """Answer a stream until the gate half-closes it, breaks it off, or the server drains."""
        stream = _Stream(self, requests)
        self._streams.add(stream)
        try:
            while (answer := await stream.next_answer()) is not None:
                yield answer
        finally:
            self._streams.discard(stream)
            stream.abandon()

    def ask(self, question: StreamVerifyRequest) -> asyncio.Future[StreamVerifyResponse]:
        """Put a question; the future has its answer: a decision or an error.

        One with a token may have to wait for what it stands for, and goes alone so that no other waits with it.
        """
        if question.request.at_least_as_fresh:
            return asyncio.ensure_future(self._answer_alone(question))
        return (self._nationwide if question.request.scope == LOOKUP_SCOPE_NATIONWIDE else self._together).ask(question)

    async def _answer_alone(self, question: StreamVerifyRequest) -> StreamVerifyResponse:
        return (await self._answer_together([question]))[0]

    async def _answer_together(self, questions: list[StreamVerifyRequest]) -> Sequence[StreamVerifyResponse]:
        answers = [StreamVerifyResponse(correlation_id=question.correlation_id) for question in questions]
        await self._verifier.answer_each(
            BatchVerifyRequest(requests=[question.request for question in questions]), answers
        )
        return answers


class _Stream:
    """One gate's stream: a reader that puts its questions, and a queue of answers that are ready."""

    def __init__(self, streams: VerificationStream, requests: AsyncIterator[StreamVerifyRequest]) -> None:
        self._streams = streams
        self._requests = requests
        self._ready: asyncio.Queue[StreamVerifyResponse | None] = asyncio.Queue()
        self._capacity = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self._under_way: set[asyncio.Future[StreamVerifyResponse]] = set()
        self._failure: BaseException | None = None
        self._reader = asyncio.get_running_loop().create_task(self._read())
        self._reader.add_done_callback(self._note_end)

    @property
    def question_count(self) -> int:
        """Questions of this gate that are being answered now."""
        return len(self._under_way)

    async def next_answer(self) -> StreamVerifyResponse | None:
        """The next answer that is ready; None when the last question has its own. Raises what broke the stream."""
        while not self._ready.empty() or self._under_way or not self._reader.done():
            answer = await self._ready.get()
            if answer is not None:
                return answer
        if self._failure is not None:
            raise self._failure
        return None

    def end(self) -> None:
        """Take no more questions; those under way are still answered."""
        self._reader.cancel()

    def abandon(self) -> None:
        """The gate is gone: stop everything."""
        self._reader.cancel()
        for future in list(self._under_way):
            future.cancel()

    async def _read(self) -> None:
        async for question in self._requests:
            await self._capacity.acquire()
            if question.HasField("request"):
                future = self._streams.ask(question)
            else:
                future = asyncio.get_running_loop().create_future()
                future.set_exception(InvalidArgument.field("request", "value is required"))
            self._under_way.add(future)
            future.add_done_callback(partial(self._note_answer, question.correlation_id))

    def _note_answer(self, correlation_id: str, future: asyncio.Future[StreamVerifyResponse]) -> None:
        self._under_way.discard(future)
        self._capacity.release()
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._ready.put_nowait(future.result())
        else:
            # As at the edge of a unary call: one question's failure is its own.
            self._ready.put_nowait(StreamVerifyResponse(correlation_id=correlation_id, error=to_status(error)))

    def _note_end(self, reader: asyncio.Task[None]) -> None:
        self._failure = None if reader.cancelled() else reader.exception()
        # Wakes the one who waits for answers, if none is left to come.
        self._ready.put_nowait(None)
