"""A service as the runtime sees it: what it registers, and how it is started, checked and closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from services.domain.errors import NotFound, Unavailable
from services.runtime.audit import AuditTrail
from services.runtime.background import Job, begin_ahead
from services.runtime.server.access.permits import Owner

M = TypeVar("M")


class Drain:
    """Signals that the server will stop, so that streams can end after their last acknowledgement."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def begin(self) -> None:
        """Signal that the server will stop."""
        self._event.set()

    @property
    def begun(self) -> bool:
        """Whether the drain has begun."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the drain has begun."""
        await self._event.wait()

    async def read(self, messages: AsyncIterator[M], error: Unavailable) -> AsyncGenerator[M]:
        """Yield the messages of a stream until it ends. Once the drain has begun, raise the error at once.

        A caller that leaves the generator before the end of the stream must close the generator.
        """
        draining: asyncio.Future[Any] = asyncio.ensure_future(self.wait())
        message: asyncio.Future[Any] = draining
        try:
            while True:
                message = begin_ahead(anext(messages))
                await asyncio.wait({message, draining}, return_when=asyncio.FIRST_COMPLETED)
                if not message.done():
                    raise error
                try:
                    yield message.result()
                except StopAsyncIteration:
                    return
        finally:
            message.cancel()
            draining.cancel()


@dataclass(frozen=True, slots=True)
class Registration:
    """One gRPC service: its full name, the generated function that registers it, and its servicer."""

    service: str
    register: Callable[[Any, Any], None]
    servicer: object


async def _nothing() -> None:
    return None


async def _owns_nothing(name: str) -> Owner:
    raise NotFound.resource(name)


@dataclass(frozen=True, slots=True)
class Service:
    """A service ready to be served.

    Attributes:
        name: "results", "policy" or "verification".
        registrations: all gRPC services that it serves.
        check: raises an error if the service could not answer now. It is called once a second for the health of the
            service.
        close: called once, after the last call has ended.
        start: called once when the server is up, before the background jobs start.
        background: jobs that run after `start` until the last call has ended.
        drain: begins when the server will stop.
        owner_of: returns the owner of a stored object by its name, so that a call about the object can be ruled on.
            Raises NotFound if there is no such object.
        audit: where calls are recorded. None for a service of tests that records nothing.
    """

    name: str
    registrations: tuple[Registration, ...]
    check: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    start: Callable[[], Awaitable[None]] = _nothing
    background: tuple[Job, ...] = ()
    drain: Drain = field(default_factory=Drain)
    owner_of: Callable[[str], Awaitable[Owner]] = _owns_nothing
    audit: AuditTrail | None = None
