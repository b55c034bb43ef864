"""Single questions that meet under load share one batch: a call then costs a fraction of a round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from services.runtime.call import Call, current_call

Q = TypeVar("Q")
A = TypeVar("A")

LINGER_SECONDS = 0.00003
"""For how long a batch gathers, for the square of how many others shared the one before it: up to four of them not at
all, since timers have milliseconds. A batch's cost is mostly its own, so under load a call pays for fewer and larger
ones; and while a batch gathers, calls that lie before a busy process come in."""
LONGEST_LINGER_SECONDS = 0.01
"""So short that what a hiccup has gathered is worked off: in a longer wait as many again would gather."""


class Coalescer(Generic[Q, A]):
    """Gathers questions into batches without making anyone wait for company that is not there.

    While fewer than `in_flight` batches are under way, a question leaves with whatever else arrived in the same turn of
    the event loop; otherwise it waits for a batch to return, and all who waited leave together, up to `max_batch`.
    Under load, which shows in how many shared the batch that has just returned, the next one lingers to gather more.

    `call` takes the questions of a batch and returns as many answers in their order; an answer that is an exception is
    raised to its asker alone. When `call` itself fails, all of that batch's askers get its exception.
    """

    def __init__(
        self,
        call: Callable[[list[Q]], Awaitable[Sequence[A | BaseException]]],
        *,
        max_batch: int = 500,
        in_flight: int = 1,
    ) -> None:
        self._call = call
        self._max_batch = max_batch
        self._free = in_flight
        self._waiting: list[tuple[Q, asyncio.Future[A], Call | None]] = []
        self._scheduled = False
        self._last_shared = 0
        self._returned = 0.0
        self._running: set[asyncio.Task[None]] = set()

    def ask(self, question: Q) -> asyncio.Future[A]:
        """Put a question; the future has its answer. A cancelled asker is forgotten, the others are not."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future, current_call.get()))
        self._schedule()
        return future

    def _schedule(self) -> None:
        if self._scheduled or not self._free or not self._waiting:
            return
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._last_shared and loop.time() < self._returned + LONGEST_LINGER_SECONDS:
            loop.call_later(min(LONGEST_LINGER_SECONDS, self._last_shared**2 * LINGER_SECONDS), self._dispatch)
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
    """The context of a batch: with the first asker's id and trace, and without its deadline.

    Others share the batch, so it must not end when the first asker's time is over.
    """
    context = Context()
    if call is not None:
        context.run(current_call.set, Call(call.request_id, call.trace))
    return context
