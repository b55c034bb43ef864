"""A gate's stream that goes on after every break: each question is answered once, in the order of the questions.

`hutong_client.aio.stream_answers` does the same for asyncio.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from google.rpc.status_pb2 import Status
from hutong.verification.v1.verification_service_pb2 import (
    StreamVerifyRequest,
    StreamVerifyResponse,
    VerifyItem,
    VerifyRequest,
)
from hutong_texts import tr

from hutong_client.errors import ConnectionCut, HutongError
from hutong_client.retry import RetryPolicy, Tries

Method = Callable[[Iterator[StreamVerifyRequest]], Iterable[StreamVerifyResponse]]
MOST_UNANSWERED = 200
"""The number of questions that are read ahead of the answers. After a break at most this number of questions is asked
again."""
RETRIES = RetryPolicy(timedelta(seconds=60), most_seconds=2.0)
"""How long people wait at the gate while the service is unavailable. A restart of the service takes some seconds."""
_END_SECONDS = 2.0
"""How long the service may take to end a stream whose questions are all answered."""


class Question(Protocol):
    """A question of a gate."""

    @property
    def request(self) -> VerifyRequest:
        """The question as Verify takes it."""

    @property
    def fault(self) -> str:
        """Why the question cannot be asked; empty if it can."""


Asked = TypeVar("Asked", bound=Question)


class _Attempt:
    """One stream of the service.

    Attributes:
        over: whether answers and failures of this stream no longer count.
        call: the call, once the call was made.
    """

    def __init__(self) -> None:
        self.over = False
        self.call: Any = None


class GateStream(Generic[Asked]):
    """Answers of StreamVerify to questions as they arrive.

    Three threads work together: one reads the questions, one reads the answers of the present stream, and the caller's
    thread takes the answers in order. Besides, gRPC takes the questions in a thread of its own.

    Args:
        method: StreamVerify of a connection.
        questions: the questions as they arrive.
        on_break: called when the service becomes unavailable, with the failure and the number of waiting questions.
        retry_policy: how long to ask again. Afterwards the waiting questions are answered with the failure, and so are
            later questions until the service answers again.
    """

    def __init__(
        self,
        method: Method,
        questions: Iterator[Asked],
        *,
        on_break: Callable[[HutongError, int], None],
        retry_policy: RetryPolicy = RETRIES,
    ) -> None:
        self._method = method
        self._questions = questions
        self._on_break = on_break
        self._tries = Tries(retry_policy)
        # The first part of each correlation id on the wire. The gate's own ids need not be unique, so they are not
        # used. The part differs from run to run, because a holder's token is accepted again under the correlation id
        # with which it was first shown.
        self._run = uuid.uuid4().hex
        self._changed = threading.Condition()
        self._waiting: dict[int, Asked] = {}
        self._answers: dict[int, VerifyItem] = {}
        self._attempt: _Attempt | None = None
        self._failure: BaseException | None = None
        self._is_input_over = False
        self._is_closed = False
        self._has_answered = False
        self._is_interrupted = False

    def answers(self) -> Iterator[tuple[Asked, VerifyItem | None]]:
        """Yield each question with its answer; None for a question with a fault, which is not asked.

        Raises:
            HutongError: a failure that a retry cannot cure, or the first stream failed before any answer.
        """
        threading.Thread(target=self._read_questions, name="hutong-gate-questions", daemon=True).start()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(self._has_news)
                    ready = list(self._take_answered())
                    failure, self._failure = self._failure, None
                    is_done = self._is_input_over and not self._waiting
                yield from ready
                if failure is not None:
                    self._recover(failure)
                elif is_done:
                    self._await_end()
                    return
                else:
                    self._ask()
        finally:
            self._close()

    @property
    def unanswered(self) -> list[Asked]:
        """The questions that were read and not answered."""
        with self._changed:
            return list(self._waiting.values())

    def _has_news(self) -> bool:
        head = next(iter(self._waiting), None)
        if self._failure is not None or head is None:
            return self._failure is not None or self._is_input_over
        return self._is_answered(head) or (self._attempt is None and self._next_question(0) is not None)

    def _is_answered(self, number: int) -> bool:
        return number in self._answers or bool(self._waiting[number].fault)

    def _take_answered(self) -> Iterator[tuple[Asked, VerifyItem | None]]:
        """Remove and yield the answered questions before the first unanswered one."""
        while (head := next(iter(self._waiting), None)) is not None and self._is_answered(head):
            yield self._waiting.pop(head), self._answers.pop(head, None)
            self._changed.notify_all()

    def _next_question(self, after: int) -> int | None:
        """Return the number of the first unanswered question after the given number; None if there is none."""
        return next((number for number in self._waiting if number > after and not self._is_answered(number)), None)

    def _read_questions(self) -> None:
        failure: BaseException | None = None
        try:
            for number, asked in enumerate(self._questions, start=1):
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed or len(self._waiting) < MOST_UNANSWERED)
                    if self._is_closed:
                        return
                    self._waiting[number] = asked
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - is raised in the caller's thread
            failure = error
        with self._changed:
            self._is_input_over = True
            self._failure = failure or self._failure
            self._changed.notify_all()

    def _ask(self) -> None:
        """Open a stream for the unanswered questions, unless a stream is open or a failure has ended the answers."""
        with self._changed:
            if self._attempt is not None or self._failure is not None or self._next_question(0) is None:
                return
            attempt = self._attempt = _Attempt()
        threading.Thread(target=self._read_answers, args=(attempt,), name="hutong-gate-answers", daemon=True).start()

    def _requests(self, attempt: _Attempt) -> Iterator[StreamVerifyRequest]:
        """Yield the unanswered questions, until the input or the stream is over.

        The questions of the last stream come first.
        """
        number: int | None = 0
        while number is not None:
            number, request = self._await_question(attempt, number)
            if request is not None:
                yield StreamVerifyRequest(correlation_id=f"{self._run}-{number}", request=request)

    def _await_question(self, attempt: _Attempt, after: int) -> tuple[int | None, VerifyRequest | None]:
        """Wait for a question after the given number. Return its number and request; None if no more questions come."""
        with self._changed:
            self._changed.wait_for(
                lambda: attempt.over or self._is_input_over or self._next_question(after) is not None
            )
            number = None if attempt.over else self._next_question(after)
            return number, self._waiting[number].request if number is not None else None

    def _read_answers(self, attempt: _Attempt) -> None:
        failure: BaseException
        try:
            attempt.call = self._method(self._requests(attempt))
            for response in attempt.call:
                self._keep_answer(attempt, response)
            failure = ConnectionCut(tr("the service closed the stream"))
        except BaseException as error:  # noqa: BLE001 - is raised in the caller's thread
            failure = error
        with self._changed:
            if attempt.over:
                return
            attempt.over = True
            self._attempt = None
            # A stream that ends while no question is unanswered is opened again with the next question.
            if self._next_question(0) is not None:
                self._failure = failure
            self._changed.notify_all()

    def _keep_answer(self, attempt: _Attempt, response: StreamVerifyResponse) -> None:
        run, _, number = response.correlation_id.rpartition("-")
        with self._changed:
            if attempt.over or run != self._run or not number.isdecimal():
                return
            if int(number) in self._waiting:
                is_error = response.HasField("error")
                self._answers[int(number)] = (
                    VerifyItem(error=response.error) if is_error else VerifyItem(decision=response.decision)
                )
            self._has_answered = True
            self._is_interrupted = False
            self._changed.notify_all()

    def _recover(self, failure: BaseException) -> None:
        """Wait before the next stream, or answer the waiting questions with the failure.

        A failure that a retry cannot cure is raised.
        """
        if not isinstance(failure, HutongError) or not failure.can_be_retried or not self._has_answered:
            raise failure
        if not self._is_interrupted:
            self._is_interrupted = True
            self._tries.progress()
            self._on_break(failure, len(self.unanswered))
        try:
            seconds = self._tries.next_wait(failure)
        except HutongError:
            self._answer_all(failure)
            return
        self._pause(seconds)

    def _answer_all(self, failure: HutongError) -> None:
        status = Status(code=failure.code.value[0], message=failure.message)
        with self._changed:
            for number in self._waiting:
                self._answers.setdefault(number, VerifyItem(error=status))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, seconds)

    def _await_end(self) -> None:
        """Let the service end the stream, so that it is not cancelled while the service completes its audit."""
        with self._changed:
            self._changed.wait_for(lambda: self._attempt is None, _END_SECONDS)

    def _close(self) -> None:
        with self._changed:
            self._is_closed = True
            attempt, self._attempt = self._attempt, None
            if attempt is not None:
                attempt.over = True
            self._changed.notify_all()
        if attempt is not None and attempt.call is not None:
            attempt.call.cancel()


class _Plain(NamedTuple):
    """A question without a note of the caller."""

    request: VerifyRequest
    fault: str = ""


def stream_answers(
    method: Method, requests: Iterable[VerifyRequest], *, retry_policy: RetryPolicy = RETRIES
) -> Iterator[tuple[VerifyRequest, VerifyItem]]:
    """Yield each question with its answer, in the order of the questions.

    A thread of its own reads the questions as they arrive. After a break the unanswered questions are asked again.

    Args:
        method: StreamVerify, as `connection.verification.StreamVerify`.
        requests: the questions.
        retry_policy: how long to ask again. Afterwards the waiting questions are answered with the failure, and so are
            later questions until the service answers again.

    Raises:
        HutongError: a failure that a retry cannot cure, or the first stream failed before any answer.
    """
    gate = GateStream(method, map(_Plain, requests), on_break=lambda _error, _waiting: None, retry_policy=retry_policy)
    for asked, item in gate.answers():
        assert item is not None, "no question has a fault"
        yield asked.request, item
