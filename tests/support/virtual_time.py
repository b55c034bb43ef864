"""An event loop whose time passes at once: when nothing is left to do, it goes on to the next timer.

It is for code that waits by the loop and does no input or output. A test that calls `pass_time` lets time pass as a
sleep would.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

_A_TURN = 1e-6
"""Seconds that one turn of the loop takes.

Time must pass in each turn, so that code that only yields to other tasks until a deadline comes to an end.
"""


class _Selector(selectors.DefaultSelector):
    """A selector that waits for no timer, and records how long it would have waited."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout is not None:
            self.skipped += timeout or _A_TURN
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that starts at 0."""

    def __init__(self) -> None:
        self._timers = _Selector()
        super().__init__(self._timers)

    def time(self) -> float:
        """Return the seconds that have passed for waiting tasks."""
        return self._timers.skipped


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in virtual time."""

    @functools.wraps(test)
    def run(*args: Any, **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **fixtures))

    return run


async def pass_time(seconds: float) -> None:
    """Let time pass."""
    assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop), "time that really passes is waited for by `until`"
    await asyncio.sleep(seconds)
