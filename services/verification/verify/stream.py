"""StreamVerify: streams that gates keep open. Questions of all gates share batches; each answer is sent when ready."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

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


Answered = Reply | Unanswered | Unkept
"""The answer to a question; the question itself, if the nation must still be asked; or an answer to store before
sending."""

QUESTIONS_AT_ONCE = 64
"""The most questions of one stream that are being answered or whose answers are not sent yet. At this limit the stream
is not read, so flow control stops the gate. A gate that reads no answers therefore costs a limited amount of memory."""


class VerificationStream:
    """Answers streams. An idle stream costs a waiting reader and an empty queue."""

    def __init__(self, verifier: Verifier, drain: Drain) -> None:
        self._verifier = verifier
        self._drain = drain
        self.tracer = tracer_of("verification")
        self._together: Coalescer[_OpenQuestion, Answered] = Coalescer(
            self._answer_by_own_records, finish=self._keep, name="stream batch"
        )
        # Questions for the nation have batches of their own, so that a slow nation does not delay the questions that
        # this node can answer.
        self._nationwide: Coalescer[_OpenQuestion, Answered] = Coalescer(
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

    def ask(self, question: _OpenQuestion) -> None:
        """Ask a question that shares a batch with others."""
        nationwide = question.asked.request.scope == LOOKUP_SCOPE_NATIONWIDE
        (self._nationwide if nationwide else self._together).ask_for(question, question)

    def ask_nation(self, question: _OpenQuestion, unanswered: Unanswered) -> None:
        """Ask the nation about a question that this node's own records did not settle. Such questions share batches."""
        self._rest.ask_for(question, unanswered)

    async def answer_alone(self, question: _OpenQuestion) -> Answered:
        """Answer a question that shares no batch."""
        return (await self._answer_together([question]))[0]

    async def _answer_together(self, asked: list[_OpenQuestion]) -> Sequence[Answered]:
        answers = _empty_answers(asked)
        await self._verifier.answer_each(_batch(asked), answers, [one.asker for one in asked])
        return answers

    async def _answer_by_own_records(self, asked: list[_OpenQuestion]) -> Sequence[Answered]:
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


def _empty_answers(asked: Sequence[_OpenQuestion]) -> list[StreamVerifyResponse]:
    return [StreamVerifyResponse(correlation_id=one.asked.correlation_id) for one in asked]


def _batch(asked: Sequence[_OpenQuestion]) -> BatchVerifyRequest:
    return BatchVerifyRequest(requests=[one.asked.request for one in asked])


class _OpenQuestion:
    """A question of a stream that is not answered yet. It receives its own answer."""

    __slots__ = ("_is_done", "_span", "_stream", "asked", "asker")

    def __init__(self, stream: _Stream, asked: StreamVerifyRequest, asker: Asker, span: ActiveSpan | None) -> None:
        self.asked = asked
        self.asker = asker
        self._stream = stream
        self._span = span
        self._is_done = False

    def done(self) -> bool:
        """Whether the question is answered, or its stream has ended."""
        return self._is_done

    def set_result(self, answer: Answered) -> None:
        """Hand the answer to the stream, or ask the nation if the answer is still missing."""
        if isinstance(answer, Unanswered):
            self._stream.ask_nation(self, answer, self._span)
            return
        assert isinstance(answer, StreamVerifyResponse)
        self._end("")
        self._stream.take(self, answer)

    def set_exception(self, error: BaseException) -> None:
        """Answer with the status that a unary call would end with. Other questions are not affected."""
        self._end(type(error).__name__)
        status = to_status(error)
        self._stream.take(self, StreamVerifyResponse(correlation_id=self.asked.correlation_id, error=status))

    def cancel(self) -> None:
        """Want no answer any more, because the stream has ended."""
        self._end("CANCELLED")

    def _end(self, error: str) -> None:
        self._is_done = True
        end_message(self._span, error)


class _Stream:
    """One gate's stream: a reader of its questions, and the answers that are ready."""

    def __init__(self, streams: VerificationStream, requests: AsyncIterator[StreamVerifyRequest | Refused]) -> None:
        self._streams = streams
        self._requests = requests
        self._asker = current_asker("")
        self._context = copy_context()
        self._open: set[_OpenQuestion] = set()
        self._ready: deque[StreamVerifyResponse] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        # Set when there is an answer, or when the reader has ended.
        self._has_news = asyncio.Event()
        self._has_room = asyncio.Event()
        self._failure: BaseException | None = None
        self._reader = asyncio.get_running_loop().create_task(self._read())
        self._reader.add_done_callback(self._note_end)

    @property
    def question_count(self) -> int:
        """How many questions of this stream are being answered now."""
        return len(self._open)

    async def next_answer(self) -> StreamVerifyResponse | None:
        """Wait for the next answer that is ready; None after the last one.

        If reading the stream failed, the failure is raised after the last answer.
        """
        while not self._ready:
            if self._reader.done() and not self._open:
                if self._failure is not None:
                    raise self._failure
                return None
            self._has_news.clear()
            await self._has_news.wait()
        self._has_room.set()
        return self._ready.popleft()

    def take(self, question: _OpenQuestion, answer: StreamVerifyResponse) -> None:
        """Take the answer to a question, to be sent."""
        self._open.discard(question)
        self._ready.append(answer)
        self._has_news.set()

    def ask_nation(self, question: _OpenQuestion, unanswered: Unanswered, span: ActiveSpan | None) -> None:
        """Ask the nation about a question, in the name of this stream's call and not of the batch that was answered."""

        def ask() -> None:
            current_span.set(span)
            self._streams.ask_nation(question, unanswered)

        self._context.run(ask)

    def end(self) -> None:
        """Stop reading questions. Questions that were read are still answered."""
        self._reader.cancel()

    def abandon(self) -> None:
        """Stop reading and cancel all questions, because the gate has disconnected."""
        self._reader.cancel()
        for question in self._open:
            question.cancel()
        for task in list(self._tasks):
            task.cancel()

    async def _read(self) -> None:
        tracer, of_stream = self._streams.tracer, current_span.get()
        async for asked in self._requests:
            while len(self._open) + len(self._ready) >= QUESTIONS_AT_ONCE:
                self._has_room.clear()
                await self._has_room.wait()
            if tracer is not None:
                current_span.set(tracer.begin_message("stream question", None, of_stream))
            if isinstance(asked, Refused):
                question = self._open_question(asked.request)
                self._answer_by_task(question, self._refuse(asked))
                continue
            question = self._open_question(asked)
            request = asked.request
            if not asked.HasField("request"):
                question.set_exception(InvalidArgument.field("request", english("value is required")))
            elif request.at_least_as_fresh:
                # A question with a token may have to wait for a write, so it shares no batch with other questions.
                self._answer_by_task(question, self._streams.answer_alone(question))
            else:
                self._streams.ask(question)

    def _open_question(self, asked: StreamVerifyRequest) -> _OpenQuestion:
        # Only the token of a holder needs to know which question shows it.
        asker = current_asker(asked.correlation_id) if asked.request.holder_token else self._asker
        question = _OpenQuestion(self, asked, asker, current_span.get())
        self._open.add(question)
        return question

    def _answer_by_task(self, question: _OpenQuestion, answering: Coroutine[Any, Any, Answered]) -> None:
        task = asyncio.get_running_loop().create_task(answering)
        self._tasks.add(task)
        task.add_done_callback(partial(self._note_task, question))

    def _note_task(self, question: _OpenQuestion, task: asyncio.Task[Answered]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or question.done():
            return
        error = task.exception()
        if error is None:
            question.set_result(task.result())
        else:
            question.set_exception(error)

    async def _refuse(self, refused: Refused) -> NoReturn:
        """Record that a question is refused, and raise the error that answers it."""
        audit = current_audit.get()
        if audit is not None:
            await audit.record_refusal(refused.request.request, to_status(refused.error).code)
        raise refused.error

    def _note_end(self, reader: asyncio.Task[None]) -> None:
        self._failure = None if reader.cancelled() else reader.exception()
        # Wakes `next_answer`, which would wait for ever if no answer is left to come.
        self._has_news.set()
