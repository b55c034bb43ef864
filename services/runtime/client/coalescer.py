"""Combines single questions into batches under load, so that a call costs a fraction of a round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from services.runtime.call import Call, current_call

Q = TypeVar("Q")
A = TypeVar("A")

LINGER_SECONDS = 0.00003
"""A new batch waits this long times n², where n is the number of questions in the previous batch beyond its first. Up
to n = 4 it does not wait, because event-loop timers have millisecond resolution. Most of a batch's cost does not depend
on its size, so under load fewer and larger batches cost less per call. The wait also lets in calls that queue in front
of a busy process."""
LONGEST_LINGER_SECONDS = 0.01
"""The longest wait. It is short enough that a backlog from a pause shrinks: during a longer wait as many new questions
would arrive."""


class Coalescer(Generic[Q, A]):
    """Gathers questions into batches. A question waits only if there are others to wait for.

    While fewer than `in_flight` batches are under way, a question leaves with the others of the same iteration of the
    event loop. Otherwise it waits until a batch returns; then all waiting questions leave together, up to `max_batch`.
    The size of the batch that has just returned shows the load: the larger it was, the longer the next one waits.

    `call` takes the questions of a batch and returns as many answers in the same order. An answer that is an exception
    is raised for its question only. If `call` itself fails, its exception is raised for every question of the batch.
    """

    def __init__(
        self,
        call: Callable[[list[Q]], Awaitable[Sequence[A | BaseException]]],
        *,
        max_batch: int = 500,
        in_flight: int = 1,
        longest_linger_seconds: float = LONGEST_LINGER_SECONDS,
    ) -> None:
        self._call = call
        self._max_batch = max_batch
        self._longest_linger = longest_linger_seconds
        self._free = in_flight
        self._waiting: list[tuple[Q, asyncio.Future[A], Call | None]] = []
        self._scheduled = False
        self._last_shared = 0
        self._returned = 0.0
        self._running: set[asyncio.Task[None]] = set()

    def ask(self, question: Q) -> asyncio.Future[A]:
        """Ask a question and return the future of its answer. Cancelling that future leaves the others as they are."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future, current_call.get()))
        self._schedule()
        return future

    def _schedule(self) -> None:
        if self._scheduled or not self._free or not self._waiting:
            return
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._last_shared and loop.time() < self._returned + self._longest_linger:
            loop.call_later(min(self._longest_linger, self._last_shared**2 * LINGER_SECONDS), self._dispatch)
        else:
            loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        while self._free and self._waiting:
            batch = [waiting for waiting in self._waiting[: self._max_batch] if not waiting[1].done()]
            del self._waiting[: self._max_batch]
            if not batch:
                continue
            self._free -= 1
            pairs = [(question, future) for question, future, _ in batch]
            task = asyncio.get_running_loop().create_task(self._run(pairs), context=_context_of(batch[0][2]))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, batch: list[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._call([question for question, _ in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(batch)} questions got {len(answers)} answers")
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, BaseException):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._free += 1
            self._last_shared = len(batch) - 1
            self._returned = asyncio.get_running_loop().time()
            self._schedule()


def _context_of(call: Call | None) -> Context:
    """Return the context of a batch: id, trace and caller of the first question's call, without that call's deadline.

    Other calls share the batch, so it must not end at the first one's deadline.
    """
    context = Context()
    if call is not None:
        shared = Call(call.request_id, call.trace)
        shared.caller = call.caller
        context.run(current_call.set, shared)
    return context
