"""A group of worker processes, and connections to each of its workers."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from tests.support.processes import Daemon
from tests.support.servers import new_channel
from tests.support.waiting import until

Ask = Callable[[grpc.aio.Channel, list[tuple[str, str]]], Awaitable[Any]]
"""A call with this metadata."""


def events(running: Daemon, name: str) -> list[dict[str, Any]]:
    """Return all lines of the log with this event so far."""
    parsed = (json.loads(line) for line in list(running.log) if line.startswith("{"))
    return [line for line in parsed if line["event"] == name]


def worker_pids(running: Daemon) -> dict[int, int]:
    """Return the process ids of the workers that have served last, by number."""
    return {line["worker"]: line["pid"] for line in events(running, "worker serves")}


async def worker_of(running: Daemon, channel: grpc.aio.Channel, ask: Ask) -> int:
    """Return the number of the worker to which a channel leads. `ask` makes a call that is logged."""
    mark = str(uuid.uuid4())
    await ask(channel, [("x-request-id", mark)])

    def found() -> list[int]:
        return [line["worker"] for line in events(running, "call") if line["request_id"] == mark]

    await until(lambda: bool(found()))
    return found()[0]


@contextlib.asynccontextmanager
async def channels_to_workers(running: Daemon, workers: int, ask: Ask) -> AsyncIterator[dict[int, grpc.aio.Channel]]:
    """Open a channel to each of so many workers, by number. The kernel chooses, so more are opened than are needed."""
    await until(lambda: len(worker_pids(running)) == workers)
    async with contextlib.AsyncExitStack() as opened:
        found: dict[int, grpc.aio.Channel] = {}
        while len(found) < workers:
            channel = await opened.enter_async_context(new_channel(running.address))
            found.setdefault(await worker_of(running, channel, ask), channel)
        yield found
