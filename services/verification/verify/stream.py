"""StreamVerify: streams that gates keep open. Questions of all gates share batches; each answer is sent when ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from hutong.results.v1.lookup_pb2 import LOOKUP_SCOPE_NATIONWIDE
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    StreamVerifyRequest,
    StreamVerifyResponse,
)
from hutong_texts import english

from services.domain.errors import InvalidArgument
from services.runtime.audit import current_audit
from services.runtime.client.coalescer import Coalescer
from services.runtime.server.batches import Refused
from services.runtime.server.service import Drain
from services.runtime.server.status import to_status
from services.runtime.tracing.spans import current_span, end_message, tracer_of
from services.verification.verify.kept import Reply, Unkept
from services.verification.verify.questions.asker import Asker, current_asker
from services.verification.verify.scope import Unanswered
from services.verification.verify.verifier import Verifier

if TYPE_CHECKING:
    from services.runtime.tracing.recording import ActiveSpan


class Asked(NamedTuple):
    """A question of a stream, with its asker."""

    question: StreamVerifyRequest
    asker: Asker


Answered = Reply | Unanswered | Unkept
"""The answer to a question; the question itself, if the nation must still be asked; or an answer to store before
sending."""

QUESTIONS_AT_ONCE = 64
"""The most open questions of one stream. At this limit the stream is not read, so flow control stops the gate."""


class VerificationStream:
    """Answers streams. An idle stream costs a waiting reader and an empty queue."""

    def __init__(self, verifier: Verifier, drain: Drain) -> None:
        self._verifier = verifier
        self._drain = drain
        self.tracer = tracer_of("verification")
        self._together: Coalescer[Asked, Answered] = Coalescer(
            self._answer_by_own_records, finish=self._keep, name="stream batch"
        )
        # Questions for the nation have batches of their own, so that a slow nation does not delay the questions that
        # this node can answer.
        self._nationwide: Coalescer[Asked, Answered] = Coalescer(
            self._answer_together, in_flight=4, name="nationwide stream batch"
        )
        self._rest: Coalescer[Unanswered, StreamVerifyResponse] = Coalescer(
            self._answer_rest, in_flight=4, name="nationwide stream batch"
        )
        self._streams: set[_Stream] = set()

    @property
    def open_count(self) -> int:
        """How many streams are open now."""
        return len(self._streams)

    @property
    def question_count(self) -> int:
        """How many questions are being answered now."""
        return sum(stream.question_count for stream in self._streams)

    async def close_when_drained(self) -> None:
        """Wait for the drain, then end all streams. A background job."""
        await self._drain.wait()
        for stream in list(self._streams):
            stream.end()

    async def serve(
        self, requests: AsyncIterator[StreamVerifyRequest | Refused]
    ) -> AsyncIterator[StreamVerifyResponse]:
        """Answer a stream until the gate half-closes or cancels it, or the server drains."""
        stream = _Stream(self, requests)
        self._streams.add(stream)
        try:
            while (answer := await stream.next_answer()) is not None:
                yield answer
        finally:
            self._streams.discard(stream)
            stream.abandon()

    def ask(self, asked: Asked) -> asyncio.Future[Answered]:
        """Ask a question. Return the future of its answer: a decision, an error or Unanswered.

        A question with a token may have to wait for a write, so it shares no batch with other questions.
        """
        request = asked.question.request
        if request.at_least_as_fresh:
            return asyncio.ensure_future(self._answer_alone(asked))
        return (self._nationwide if request.scope == LOOKUP_SCOPE_NATIONWIDE else self._together).ask(asked)

    def ask_nation(self, unanswered: Unanswered) -> asyncio.Future[StreamVerifyResponse]:
        """Ask the nation about a question that this node's own records did not settle. Such questions share batches."""
        return self._rest.ask(unanswered)

    async def _answer_alone(self, asked: Asked) -> Answered:
        return (await self._answer_together([asked]))[0]

    async def _answer_together(self, asked: list[Asked]) -> Sequence[Answered]:
        answers = _empty_answers(asked)
        await self._verifier.answer_each(_batch(asked), answers, [one.asker for one in asked])
        return answers

    async def _answer_by_own_records(self, asked: list[Asked]) -> Sequence[Answered]:
        answers = _empty_answers(asked)
        askers = [one.asker for one in asked]
        rest, unkept = await self._verifier.answer_by_own_records(_batch(asked), answers, askers)
        unready: dict[int, Unanswered | Unkept] = {id(one.reply): one for one in rest}
        unready |= {id(one.reply): one for one in unkept}
        return [unready.get(id(answer), answer) for answer in answers]

    async def _keep(self, answers: Sequence[Answered | BaseException]) -> Sequence[Answered | BaseException]:
        """Store what must be stored before answers are sent. After a small batch, the next batch does not wait."""
        await self._verifier.keep([answer for answer in answers if isinstance(answer, Unkept)])
        return [answer.reply if isinstance(answer, Unkept) else answer for answer in answers]

    async def _answer_rest(self, rest: list[Unanswered]) -> Sequence[StreamVerifyResponse]:
        await self._verifier.answer_rest(rest)
        return [one.reply for one in rest if isinstance(one.reply, StreamVerifyResponse)]


def _empty_answers(asked: Sequence[Asked]) -> list[StreamVerifyResponse]:
    return [StreamVerifyResponse(correlation_id=one.question.correlation_id) for one in asked]


def _batch(asked: Sequence[Asked]) -> BatchVerifyRequest:
    return BatchVerifyRequest(requests=[one.question.request for one in asked])


class _Stream:
    """One gate's stream: a reader of its questions, and a queue of answers that are ready."""

    def __init__(self, streams: VerificationStream, requests: AsyncIterator[StreamVerifyRequest | Refused]) -> None:
        self._streams = streams
        self._requests = requests
        self._ready: asyncio.Queue[StreamVerifyResponse | None] = asyncio.Queue()
        self._capacity = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self._under_way: set[asyncio.Future[Any]] = set()
        self._failure: BaseException | None = None
        self._reader = asyncio.get_running_loop().create_task(self._read())
        self._reader.add_done_callback(self._note_end)

    @property
    def question_count(self) -> int:
        """How many questions of this stream are being answered now."""
        return len(self._under_way)

    async def next_answer(self) -> StreamVerifyResponse | None:
        """Wait for the next answer that is ready; None after the last one.

        If reading the stream failed, the failure is raised after the last answer.
        """
        while not self._ready.empty() or self._under_way or not self._reader.done():
            answer = await self._ready.get()
            if answer is not None:
                return answer
        if self._failure is not None:
            raise self._failure
        return None

    def end(self) -> None:
        """Stop reading questions. Questions that were read are still answered."""
        self._reader.cancel()

    def abandon(self) -> None:
        """Stop reading and cancel all questions, because the gate has disconnected."""
        self._reader.cancel()
        for future in list(self._under_way):
            future.cancel()

    async def _read(self) -> None:
        tracer, of_stream = self._streams.tracer, current_span.get()
        async for asked in self._requests:
            await self._capacity.acquire()
            if tracer is not None:
                current_span.set(tracer.begin_message("stream question", None, of_stream))
            question = asked.request if isinstance(asked, Refused) else asked
            future: asyncio.Future[Any]
            if isinstance(asked, Refused):
                future = asyncio.ensure_future(self._refuse(asked))
            elif question.HasField("request"):
                future = self._streams.ask(Asked(question, current_asker(question.correlation_id)))
            else:
                future = asyncio.get_running_loop().create_future()
                future.set_exception(InvalidArgument.field("request", english("value is required")))
            self._expect(question.correlation_id, future, current_span.get())

    async def _refuse(self, refused: Refused) -> NoReturn:
        """Record that a question is refused, and raise the error that answers it."""
        audit = current_audit.get()
        if audit is not None:
            await audit.record_refusal(refused.request.request, to_status(refused.error).code)
        raise refused.error

    def _expect(self, correlation_id: str, future: asyncio.Future[Any], span: ActiveSpan | None) -> None:
        self._under_way.add(future)
        future.add_done_callback(partial(self._note_answer, correlation_id, span))

    def _note_answer(self, correlation_id: str, span: ActiveSpan | None, future: asyncio.Future[Any]) -> None:
        self._under_way.discard(future)
        if future.cancelled():
            self._capacity.release()
            end_message(span, "CANCELLED")
            return
        error = future.exception()
        if error is None and isinstance(future.result(), Unanswered):
            self._expect(correlation_id, self._streams.ask_nation(future.result()), span)
            return
        self._capacity.release()
        end_message(span, "" if error is None else type(error).__name__)
        if error is None:
            self._ready.put_nowait(future.result())
        else:
            # A failure becomes a status as in a unary call, and does not affect other questions.
            self._ready.put_nowait(StreamVerifyResponse(correlation_id=correlation_id, error=to_status(error)))

    def _note_end(self, reader: asyncio.Task[None]) -> None:
        self._failure = None if reader.cancelled() else reader.exception()
        # Wakes `next_answer`, which would wait for ever if no answer is left to come.
        self._ready.put_nowait(None)
