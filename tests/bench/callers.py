"""Callers of a bench: a number of calls under way at once, for some seconds, from one client process."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from services.runtime.tuning import freeze_heap


@dataclass(frozen=True, slots=True)
class Target:
    """A method at an address, the type of its answers, which answers are good, and the credentials of a TLS caller."""

    address: str
    method: str
    response_type: type[Message]
    is_good: Callable[[Any], bool] = lambda _: True
    credentials: grpc.ChannelCredentials | None = None

    def channel(self) -> grpc.aio.Channel:
        """Open a connection."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.address)
        return grpc.aio.secure_channel(self.address, self.credentials)

    def demand(self, answer: Any) -> None:
        """Raise an error at an answer that is not good, because a rate of failures means nothing."""
        if not self.is_good(answer):
            raise RuntimeError(f"{self.method} answered {answer}")


def unary_rate(target: Target, requests: Sequence[Message], seconds: float, callers: int) -> float:
    """Return the calls a second. Each caller begins its next call when its last is answered."""
    freeze_heap()
    return asyncio.run(_call_for(target, requests, seconds, callers))


async def _call_for(target: Target, requests: Sequence[Message], seconds: float, callers: int) -> float:
    async with target.channel() as channel:
        call = channel.unary_unary(
            target.method,
            request_serializer=type(requests[0]).SerializeToString,
            response_deserializer=target.response_type.FromString,
        )
        for answer in await asyncio.gather(*(call(request) for request in requests[:callers])):
            target.demand(answer)
        begun = time.perf_counter()
        counts = await asyncio.gather(
            *(_keep_calling(target, call, requests[start::callers], begun + seconds) for start in range(callers))
        )
        return sum(counts) / (time.perf_counter() - begun)


async def _keep_calling(
    target: Target, call: Callable[[Message], Any], requests: Sequence[Message], until: float
) -> int:
    count = 0
    while time.perf_counter() < until:
        target.demand(await call(requests[count % len(requests)]))
        count += 1
    return count


def unary_calls(target: Target, requests: Sequence[Message], callers: int, note: Callable[[], None]) -> float:
    """Make one call for each request, `callers` of them at once. Return the calls a second.

    `note` is called before the first of these calls and after the last. Before that, the connection is opened and each
    caller has made one call.
    """
    return asyncio.run(_call_each(target, requests, callers, note))


async def _call_each(target: Target, requests: Sequence[Message], callers: int, note: Callable[[], None]) -> float:
    async with target.channel() as channel:
        call = channel.unary_unary(
            target.method,
            request_serializer=type(requests[0]).SerializeToString,
            response_deserializer=target.response_type.FromString,
        )

        async def call_in_turn(mine: Sequence[Message]) -> None:
            for request in mine:
                target.demand(await call(request))

        await asyncio.gather(*(call_in_turn([request]) for request in requests[:callers]))
        note()
        begun = time.perf_counter()
        await asyncio.gather(*(call_in_turn(requests[start::callers]) for start in range(callers)))
        seconds = time.perf_counter() - begun
        note()
        return len(requests) / seconds


def latencies(target: Target, requests: Sequence[Message], seconds: float, rate: float) -> list[float]:
    """Begin calls evenly at a rate, answered or not. Return the seconds that each took, in ascending order."""
    # A full garbage collection of the bench takes 50 ms, which would count as the service's time.
    freeze_heap()
    return sorted(asyncio.run(_call_at(target, requests, seconds, rate)))


async def _call_at(target: Target, requests: Sequence[Message], seconds: float, rate: float) -> list[float]:
    taken: list[float] = []
    async with target.channel() as channel:
        call = channel.unary_unary(
            target.method,
            request_serializer=type(requests[0]).SerializeToString,
            response_deserializer=target.response_type.FromString,
        )
        await call(requests[0])

        async def timed(request: Message, due: float) -> None:
            target.demand(await call(request))
            # Counted from when the call was due, so that a stall counts for every call that it delayed.
            taken.append(time.perf_counter() - due)

        begun = time.perf_counter()
        under_way: list[asyncio.Task[None]] = []
        for index in itertools.count():
            due = begun + index / rate
            if due >= begun + seconds:
                break
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            under_way.append(asyncio.create_task(timed(requests[index % len(requests)], due)))
        await asyncio.gather(*under_way)
    return taken


def stream_rate(target: Target, requests: Sequence[Message], seconds: float, streams: int, ahead: int) -> float:
    """Return the answers a second over `streams` streams, each with `ahead` questions under way."""
    freeze_heap()
    return asyncio.run(_stream_for(target, requests, seconds, streams, ahead))


async def _stream_for(target: Target, requests: Sequence[Message], seconds: float, streams: int, ahead: int) -> float:
    async with target.channel() as channel:
        open_stream = channel.stream_stream(
            target.method,
            request_serializer=type(requests[0]).SerializeToString,
            response_deserializer=target.response_type.FromString,
        )

        async def keep_asking(mine: Sequence[Message], until: float) -> int:
            stream = open_stream()
            for request in mine[:ahead]:
                await stream.write(request)
            count = 0
            while time.perf_counter() < until:
                target.demand(await stream.read())
                count += 1
                await stream.write(mine[count % len(mine)])
            await stream.done_writing()
            while await stream.read() is not grpc.aio.EOF:
                pass
            return count

        begun = time.perf_counter()
        counts = await asyncio.gather(
            *(keep_asking(requests[start::streams], begun + seconds) for start in range(streams))
        )
        return sum(counts) / seconds
