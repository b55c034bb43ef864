"""Combines single questions into batches under load. A call then costs a fraction of a round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from services.runtime.call import Call, current_call
from services.runtime.tracing.spans import batch_span, current_span, is_tracing

if TYPE_CHECKING:
    from services.runtime.tracing.recording import ActiveSpan

Q = TypeVar("Q")
A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)


class Receiver(Protocol[A_contra]):
    """Takes the answer to one question. A future is a receiver. Methods of another receiver must raise no error."""

    def done(self) -> bool:
        """Whether the receiver has its answer, or wants none."""
        ...

    def set_result(self, result: A_contra, /) -> None:
        """Take the answer. It is called at most once, and only while `done` is false."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Take an error in place of the answer."""
        ...


_Asked: TypeAlias = tuple[Q, Receiver[A], Call | None, asyncio.TimerHandle | None, "ActiveSpan | None"]
"""A question, the receiver of its answer, its call, the timer for its deadline, and the span of its call."""

_Finish: TypeAlias = Callable[[Sequence[A | BaseException]], Awaitable[Sequence[A | BaseException]]]

LINGER_SHARED = 32
"""Sets how long a new batch waits: (n / 32)² times as long as the previous batch was under way. Here n is the number of
questions in the previous batch, less one. Most of a batch's cost does not depend on its size, so fewer and larger
batches cost less per call. Calls that queue in front of a busy process also arrive during the wait. The wait is a share
of the previous batch's time, because that time grows with the load and on slow machines. The number of questions that
gather therefore does not depend on the callers' speed.

A busy process has about thirty questions in a batch without any wait, a process at half load five to seven. With 8 in
place of 32, one short pause at half load made a large batch, the large batch made the next one wait, and all later
questions went on waiting for each other (docs/performance.md §11)."""
LONGEST_LINGER_SHARE = 2.0
"""The longest wait as a share of the previous batch's time. A larger share makes batches larger, but saves little."""
LONGEST_FINISH_SHARE = 4.0
"""The longest time that the next batch waits for `finish`, as a share of the time that `call` took. After a batch of at
most LINGER_SHARED questions, the next batch does not wait for `finish` at all."""
LONGEST_LINGER_SECONDS = 0.01
"""The longest wait. If batches waited longer, new questions would arrive as fast as batches answer them, and a backlog
would not shrink."""


class Coalescer(Generic[Q, A]):
    """Gathers questions into batches. A question waits only under load.

    While fewer than `in_flight` batches are under way, a question leaves together with the other questions of the same
    iteration of the event loop. Otherwise the question waits until a batch returns. Then all waiting questions leave
    together, up to `max_batch`. The batch that has just returned shows the load: the larger it was, and the longer it
    was under way, the longer the next batch waits.

    `call` takes the questions of a batch and returns as many answers in the same order. An exception in place of an
    answer is raised for that question only. If `call` itself fails, its exception is raised for every question of the
    batch.

    `finish` takes the answers of a batch and returns the answers to send. After a small batch the next batch does not
    wait for `finish`. Under load it waits, because batches that overlap are smaller. `longest_finish_share` limits this
    wait, so that a `finish` that hangs does not stop the next batches.

    `on_late` takes a question whose deadline passes before `call` returns, and returns an answer for it. The deadline
    does not limit `finish`.

    `name` is the name of the batches in traces.
    """

    def __init__(
        self,
        call: Callable[[list[Q]], Awaitable[Sequence[A | BaseException]]],
        *,
        max_batch: int = 500,
        in_flight: int = 1,
        longest_linger_seconds: float = LONGEST_LINGER_SECONDS,
        longest_finish_share: float = LONGEST_FINISH_SHARE,
        name: str = "batch",
        on_late: Callable[[Q], A] | None = None,
        finish: _Finish[A] | None = None,
    ) -> None:
        self._call = call
        self._finish = finish
        self._on_late = on_late
        self._max_batch = max_batch
        self._longest_linger = longest_linger_seconds
        self._longest_finish_share = longest_finish_share
        self._name = name
        self._free = in_flight
        self._waiting: list[_Asked[Q, A]] = []
        self._scheduled = False
        self._linger = 0.0
        self._returned = 0.0
        self._running: set[asyncio.Task[None]] = set()

    def ask(self, question: Q, seconds: float | None = None) -> asyncio.Future[A]:
        """Ask a question and return the future of its answer. Cancelling the future affects no other question.

        If `call` does not return within `seconds`, `on_late` gives the answer.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self._expire, question, future)
        self._waiting.append((question, future, current_call.get(), timer, current_span.get()))
        self._schedule()
        return future

    def ask_for(self, receiver: Receiver[A], question: Q) -> None:
        """Ask a question without a deadline, whose answer goes to a receiver as soon as its batch has it.

        A future and its callback would cost more, and would be called in a later iteration of the event loop.
        """
        self._waiting.append((question, receiver, current_call.get(), None, current_span.get()))
        self._schedule()

    def _expire(self, question: Q, future: asyncio.Future[A]) -> None:
        if not future.done():
            assert self._on_late is not None
            future.set_result(self._on_late(question))

    def _schedule(self) -> None:
        if self._scheduled or not self._free or not self._waiting:
            return
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._linger and loop.time() < self._returned + self._longest_linger:
            loop.call_later(self._linger, self._dispatch)
        else:
            loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        while self._free and self._waiting:
            batch = [asked for asked in self._waiting[: self._max_batch] if not asked[1].done()]
            del self._waiting[: self._max_batch]
            if not batch:
                continue
            self._free -= 1
            recorded = _first_recorded(batch) if is_tracing() else None
            work = self._run(batch) if recorded is None else self._run_traced(batch)
            first = recorded or batch[0]
            task = asyncio.get_running_loop().create_task(work, context=_context_of(first[2], batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run_traced(self, batch: list[_Asked[Q, A]]) -> None:
        with batch_span(self._name, [span for *_, span in batch]):
            await self._run(batch)

    async def _run(self, batch: list[_Asked[Q, A]]) -> None:
        size, begun = len(batch), asyncio.get_running_loop().time()
        try:
            try:
                answers = await self._call([asked[0] for asked in batch])
            except BaseException:
                self._release(size, begun)
                raise
            finally:
                _stop_timers(batch)
            if self._finish is None:
                self._release(size, begun)
            else:
                answers = await self._finish_batch(self._finish, answers, begun)
            if len(answers) != size:
                raise RuntimeError(f"{size} questions got {len(answers)} answers")
            for asked, answer in zip(batch, answers, strict=True):
                _settle(asked, answer)
        except BaseException as error:
            for asked in batch:
                _settle(asked, error)
            if not isinstance(error, Exception):
                raise

    async def _finish_batch(
        self, finish: _Finish[A], answers: Sequence[A | BaseException], begun: float
    ) -> Sequence[A | BaseException]:
        """Return what `finish` makes of a batch's answers.

        Let the next batch leave at once or, under load, after `finish`.
        """
        size = len(answers)
        if size <= LINGER_SHARED:
            self._release(size, begun)
            return await finish(answers)
        loop = asyncio.get_running_loop()
        is_held = True

        def release() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                self._release(size, begun)

        timer = loop.call_later(self._longest_finish_share * (loop.time() - begun), release)
        try:
            return await finish(answers)
        finally:
            timer.cancel()
            release()

    def _release(self, size: int, begun: float) -> None:
        """Let the next batch leave after a wait.

        The wait is longer if the batch that has returned was larger or took longer.
        """
        self._free += 1
        self._returned = asyncio.get_running_loop().time()
        share = min(LONGEST_LINGER_SHARE, ((size - 1) / LINGER_SHARED) ** 2)
        self._linger = min(self._longest_linger, share * (self._returned - begun))
        self._schedule()


def _stop_timers(batch: Sequence[_Asked[Q, A]]) -> None:
    for asked in batch:
        if asked[3] is not None:
            asked[3].cancel()


def _first_recorded(batch: Sequence[_Asked[Q, A]]) -> _Asked[Q, A] | None:
    """Return the first question whose call is recorded; None if none is."""
    return next((asked for asked in batch if asked[4] is not None), None)


def _settle(asked: _Asked[Q, A], answer: A | BaseException) -> None:
    """Answer a question unless it has been answered or cancelled already."""
    receiver = asked[1]
    if receiver.done():
        return
    if isinstance(answer, BaseException):
        receiver.set_exception(answer)
    else:
        receiver.set_result(answer)


def _context_of(call: Call | None, batch: Sequence[_Asked[Q, A]]) -> Context:
    """Return the context of a batch: the id, trace and caller of one of its calls, and the latest deadline of all."""
    context = Context()
    if call is not None:
        shared = Call(call.request_id, call.trace)
        shared.caller = call.caller
        shared.deadline = _latest_deadline(batch)
        context.run(current_call.set, shared)
    return context


def _latest_deadline(batch: Sequence[_Asked[Q, A]]) -> float | None:
    """Return the latest deadline of the questions; None if a question has no deadline."""
    latest = 0.0
    for asked in batch:
        call = asked[2]
        if call is None or call.deadline is None:
            return None
        latest = max(latest, call.deadline)
    return latest
