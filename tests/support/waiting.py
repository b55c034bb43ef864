"""Waiting for what other tasks, threads and processes do. Nothing else in the tests sleeps."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Iterator

import grpc

TIMEOUT_SECONDS = 60.0
"""The longest that a test waits for anything.

On an idle machine everything takes a fraction of it, so only what hangs takes longer.
"""
_POLL_SECONDS = 0.01
_LONGEST_POLL_SECONDS = 0.1
"""Conditions read databases and call services. Asked a hundred times a second, they would take the time of the work for
which they wait."""


def _pauses() -> Iterator[float]:
    """Yield the pause before each further try."""
    pause = _POLL_SECONDS
    while True:
        yield pause
        pause = min(1.2 * pause, _LONGEST_POLL_SECONDS)


async def until(condition: Callable[[], Awaitable[bool] | bool], seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait until a condition holds; fail the test if it does not in time."""
    async with asyncio.timeout(seconds):
        for pause in _pauses():
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(pause)


def wait_until(condition: Callable[[], bool], seconds: float = TIMEOUT_SECONDS) -> None:
    """Do as `until`, in a test without an event loop."""
    waited = 0.0
    for pause in _pauses():
        if condition():
            return
        if waited >= seconds:
            break
        waited += pause
        threading.Event().wait(pause)
    raise TimeoutError(f"did not come true in {seconds:.0f} seconds")


async def in_one_of(tries: int, attempt: Callable[[], Awaitable[None]]) -> None:
    """Try what depends on a time limit of a service, until one attempt passes. Raise the error of the last.

    On a busy machine a process may stand still until the limit is over, which says nothing about the service. A service
    that is late by itself is late in each attempt.
    """
    for _ in range(tries - 1):
        try:
            await attempt()
        except (AssertionError, grpc.aio.AioRpcError):
            continue
        return
    await attempt()


async def turns(count: int = 5) -> None:
    """Let the event loop turn, so that everything that can happen now has happened."""
    for _ in range(count):
        await asyncio.sleep(0)


async def pause_between_calls() -> None:
    """Let a caller rest between two calls, so that its calls leave time to others."""
    await asyncio.sleep(5 * _POLL_SECONDS)


def random_instant(chance: random.Random, most_seconds: float) -> None:
    """Let a random time pass, so that a fault comes at any point of the work under way."""
    threading.Event().wait(chance.uniform(0, most_seconds))
