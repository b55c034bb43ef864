"""One service as the runtime sees it: what it registers, how its health is checked, how it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from services.runtime.background import Job


class Drain:
    """Says when the server is to stop, so that streams can end after their last acknowledgement."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def begin(self) -> None:
        """Let everyone know."""
        self._event.set()

    @property
    def begun(self) -> bool:
        """Whether it is time."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until it is time."""
        await self._event.wait()


@dataclass(frozen=True, slots=True)
class Registration:
    """One gRPC service: its full name, the generated function that registers it, and its servicer."""

    service: str
    register: Callable[[Any, Any], None]
    servicer: object


async def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Service:
    """A service ready to be served.

    Attributes:
        name: "results", "policy" or "verification".
        registrations: the gRPC services it serves, no others.
        check: raises when the service could not answer now; asked again and again for its health.
        close: called once, after the last call has ended.
        start: called once when the server is up, before its background jobs.
        background: jobs that run from then on until the last call has ended.
        drain: begun when the server is to stop.
    """

    name: str
    registrations: tuple[Registration, ...]
    check: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    start: Callable[[], Awaitable[None]] = _nothing
    background: tuple[Job, ...] = ()
    drain: Drain = field(default_factory=Drain)
