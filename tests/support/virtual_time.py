"""An event loop whose time passes at once: when nothing is left to do, it goes on to the next timer.

For code that waits by the loop and does no input or output. `pass_time` there is what a sleep is elsewhere.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Waits for no timer: tells instead how long it would have waited."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout is not None:
            self.skipped += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that starts at 0."""

    def __init__(self) -> None:
        self._timers = _Selector()
        super().__init__(self._timers)

    def time(self) -> float:
        """Seconds that have passed for those who wait."""
        return self._timers.skipped


class VirtualTimePolicy(asyncio.DefaultEventLoopPolicy):
    """For pytest-asyncio's fixture `event_loop_policy`."""

    def new_event_loop(self) -> VirtualTimeLoop:
        """A loop for one test."""
        return VirtualTimeLoop()


def run_in_virtual_time(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run to the end of a coroutine."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(coroutine)


async def pass_time(seconds: float) -> None:
    """Let time pass."""
    assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop), "time that really passes is waited for by `until`"
    await asyncio.sleep(seconds)
