"""A gate's stream for asyncio that goes on after every break. `hutong_client.gate_stream` explains how."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any

from google.rpc.status_pb2 import Status
from hutong.verification.v1.verification_service_pb2 import (
    StreamVerifyRequest,
    StreamVerifyResponse,
    VerifyItem,
    VerifyRequest,
)
from hutong_texts import tr

from hutong_client.errors import ConnectionCut, HutongError
from hutong_client.gate_stream import MOST_UNANSWERED, RETRIES
from hutong_client.retry import RetryPolicy, Tries

Answer = tuple[VerifyRequest, VerifyItem]


async def stream_answers(
    method: Callable[..., Any],
    requests: Iterable[VerifyRequest] | AsyncIterable[VerifyRequest],
    *,
    retry_policy: RetryPolicy = RETRIES,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Answer]:
    """Yield each question with its answer, in the order of the questions.

    A task reads the questions as they arrive. After a break the unanswered questions are asked again.

    Args:
        method: StreamVerify, as `connection.verification.StreamVerify`.
        requests: the questions.
        retry_policy: how long to ask again. Afterwards the waiting questions are answered with the failure, and so are
            later questions until the service answers again. Its `sleep` is not used.
        sleep: waits a number of seconds.

    Raises:
        HutongError: a failure that a retry cannot cure, or the failure of the first stream before any answer.
    """
    gate, tries = _Gate(), Tries(retry_policy)
    has_answered = is_interrupted = False
    reading = asyncio.create_task(gate.read(requests))
    try:
        while await gate.has_question():
            call = method(gate.questions())
            failure: HutongError = ConnectionCut(tr("the service closed the stream"))
            try:
                async for response in call:
                    gate.keep(response)
                    has_answered, is_interrupted = True, False
                    for answer in gate.take_answered():
                        yield answer
            except HutongError as error:
                failure = error
            finally:
                call.cancel()
            if not gate.is_waiting():
                continue
            if not failure.can_be_retried or not has_answered:
                raise failure
            if not is_interrupted:
                is_interrupted = True
                tries.progress()
            try:
                seconds = tries.next_wait(failure)
            except HutongError:
                gate.answer_all(failure)
                for answer in gate.take_answered():
                    yield answer
            else:
                await sleep(seconds)
        await reading
    finally:
        reading.cancel()


class _Gate:
    """The questions that were read and not yet yielded, with the answers that have arrived."""

    def __init__(self) -> None:
        # The first part of each correlation id. A holder's token is accepted again only with the correlation id with
        # which it was first shown, so the part stays the same after a break.
        self._run = uuid.uuid4().hex
        self._waiting: dict[int, VerifyRequest] = {}
        self._answers: dict[int, VerifyItem] = {}
        self._is_input_over = False
        self._change = asyncio.Event()

    async def read(self, requests: Iterable[VerifyRequest] | AsyncIterable[VerifyRequest]) -> None:
        """Read the questions, at most `MOST_UNANSWERED` ahead of the answers."""
        number = 0
        try:
            async for request in requests if isinstance(requests, AsyncIterable) else _asynchronous(requests):
                await self._until(lambda: len(self._waiting) < MOST_UNANSWERED)
                number += 1
                self._waiting[number] = request
                self._notify()
        finally:
            self._is_input_over = True
            self._notify()

    async def has_question(self) -> bool:
        """Wait for an unanswered question. Return False if the input is over and every question is answered."""
        await self._until(lambda: self._is_input_over or self.is_waiting())
        return self.is_waiting()

    def is_waiting(self) -> bool:
        """Return whether a question is unanswered."""
        return self._next_question(0) is not None

    async def questions(self) -> AsyncIterator[StreamVerifyRequest]:
        """Yield the unanswered questions, the questions of the last stream first, until the input is over."""
        number = 0
        while True:
            await self._until(partial(self._is_decided, number))
            following = self._next_question(number)
            if following is None:
                return
            number = following
            yield StreamVerifyRequest(correlation_id=f"{self._run}-{number}", request=self._waiting[number])

    def keep(self, response: StreamVerifyResponse) -> None:
        """Keep an answer. An answer to a question that is not waiting is ignored."""
        run, _, number = response.correlation_id.rpartition("-")
        if run == self._run and number.isdecimal() and int(number) in self._waiting:
            is_error = response.HasField("error")
            self._answers[int(number)] = (
                VerifyItem(error=response.error) if is_error else VerifyItem(decision=response.decision)
            )

    def answer_all(self, failure: HutongError) -> None:
        """Answer the waiting questions with a failure."""
        status = Status(code=failure.code.value[0], message=failure.message)
        for number in self._waiting:
            self._answers.setdefault(number, VerifyItem(error=status))

    def take_answered(self) -> Iterator[Answer]:
        """Remove and yield the answered questions before the first unanswered one."""
        while (head := next(iter(self._waiting), None)) is not None and head in self._answers:
            yield self._waiting.pop(head), self._answers.pop(head)
            self._notify()

    def _next_question(self, after: int) -> int | None:
        return next((number for number in self._waiting if number > after and number not in self._answers), None)

    def _is_decided(self, after: int) -> bool:
        """Return whether an unanswered question follows the given number, or the input is over."""
        return self._is_input_over or self._next_question(after) is not None

    def _notify(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def _until(self, is_true: Callable[[], bool]) -> None:
        while not is_true():
            await self._change.wait()


async def _asynchronous(requests: Iterable[VerifyRequest]) -> AsyncIterator[VerifyRequest]:
    for request in requests:
        yield request
