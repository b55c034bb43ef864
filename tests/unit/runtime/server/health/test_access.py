"""Watches of health: no caller takes all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.domain.errors import ResourceExhausted
from services.runtime.call import Call, current_call
from services.runtime.caller import Caller
from services.runtime.server.access.identify import Identifier
from services.runtime.server.health.access import (
    KEPT_FOR_OPERATORS,
    MAX_WATCHES,
    MAX_WATCHES_OF_ALL,
    MAX_WATCHES_OF_NAMELESS,
    HealthAccess,
)
from services.runtime.server.health.rate import HealthRate
from services.runtime.server.interceptors.method import Method
from services.runtime.server.interceptors.open_streams import OpenStreams
from tests.support.waiting import turns

WATCH = Method("/grpc.health.v1.Health/Watch", False, True, served=True)


class Watches:
    """Opens watches of health that last until the test ends."""

    def __init__(self) -> None:
        async def wait_for(answer: Callable[[], Awaitable[Any]]) -> Any:
            return await answer()

        streams = cast("OpenStreams", SimpleNamespace(wait_for=wait_for))
        identifier = cast("Identifier", SimpleNamespace(is_open=False))
        self._over = asyncio.Event()
        self._watch = HealthAccess(identifier, streams, HealthRate()).around_unary(WATCH, self._stay)
        self._tasks: list[asyncio.Task[Any]] = []

    async def _stay(self, _request: Any, _context: Any) -> None:
        await self._over.wait()

    async def open(self, caller: Caller, count: int = 1) -> int:
        """Open so many watches. Return how many of them stay open."""
        call = Call("id")
        call.caller = caller
        current_call.set(call)
        tasks = [asyncio.create_task(self._watch(None, cast("Any", None))) for _ in range(count)]
        await turns(1)
        self._tasks += [task for task in tasks if not task.done()]
        assert all(isinstance(task.exception(), ResourceExhausted) for task in tasks if task.done())
        return sum(not task.done() for task in tasks)

    async def close(self, count: int | None = None) -> None:
        """End the watches that were opened first, by default all."""
        ended = self._tasks[:count]
        del self._tasks[:count]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)


@pytest.fixture
async def watches() -> AsyncIterator[Watches]:
    opened = Watches()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(opened.close)
        yield opened


def nameless(number: int) -> Caller:
    return Caller("", certificate_hash=f"certificate {number}", peer=f"p{number}")


def named(role: str, number: int) -> Caller:
    return Caller(role, f"{role}s/{number}", certificate_name=f"{role}s/{number}", peer=f"{role}{number}")


async def test_certificates_without_a_name_take_a_part_of_the_watches(watches: Watches) -> None:
    """Callers with a role get watches beside them, and each ended watch makes room for another one."""
    many = 2 * MAX_WATCHES_OF_NAMELESS // MAX_WATCHES
    assert sum([await watches.open(nameless(one), MAX_WATCHES) for one in range(many)]) == MAX_WATCHES_OF_NAMELESS
    assert await watches.open(named("gate", 1)) == 1
    await watches.close(3)
    assert await watches.open(nameless(many), 5) == 3


async def test_operators_get_a_watch_when_all_others_are_open(watches: Watches) -> None:
    many = MAX_WATCHES_OF_ALL // MAX_WATCHES + 1
    found = sum([await watches.open(named("gate", one), MAX_WATCHES) for one in range(many)])
    assert found == MAX_WATCHES_OF_ALL - KEPT_FOR_OPERATORS
    assert await watches.open(named("operator", 1), KEPT_FOR_OPERATORS) == KEPT_FOR_OPERATORS
    assert await watches.open(named("operator", 2)) == 0
