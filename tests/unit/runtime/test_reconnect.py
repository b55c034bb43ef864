"""Reconnecting: after whatever loss, with waits that grow and begin anew, until it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import pytest

from services.domain.errors import Unavailable
from services.runtime.client.reconnect import Backoff, reconnect_forever

NO_WAIT = Backoff(0.0, 0.0)


def rpc_error() -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (rpc_error, ("UNAVAILABLE", "gone")),
        (lambda: Unavailable("DATABASE_UNAVAILABLE", "away"), ("DATABASE_UNAVAILABLE", "away")),
        (lambda: TimeoutError("silent"), ("TIMEOUT", "silent")),
        (asyncio.InvalidStateError, ("UNAVAILABLE", "the stream ended before a message was written")),
        (lambda: RuntimeError("unforeseen"), ("RuntimeError", "")),
    ],
)
async def test_every_disconnection_is_reported_and_followed_by_another_connection(
    error: Callable[[], Exception], told: tuple[str, str]
) -> None:
    failures: list[tuple[str, str]] = []
    connections = 0
    held = asyncio.Event()

    async def connect() -> None:
        nonlocal connections
        connections += 1
        if connections < 3:
            raise error()
        held.set()
        await asyncio.Event().wait()

    keeping = asyncio.ensure_future(reconnect_forever(connect, lambda *why: failures.append(why), NO_WAIT))
    await held.wait()
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert failures == [told, told]


async def test_a_connection_that_is_renewed_is_no_loss() -> None:
    connections = 0
    held = asyncio.Event()

    async def connect() -> None:
        nonlocal connections
        connections += 1
        if connections == 3:
            held.set()
            await asyncio.Event().wait()

    def on_lost(why: str, text: str) -> None:
        raise AssertionError(f"{why} {text}")

    keeping = asyncio.ensure_future(reconnect_forever(connect, on_lost, Backoff(60.0, 60.0)))
    await held.wait()
    keeping.cancel()


def test_waits_are_doubled_up_to_the_longest_and_spread() -> None:
    backoff = Backoff(0.1, 2.0)
    for failures, whole in ((1, 0.1), (2, 0.2), (3, 0.4), (5, 1.6), (6, 2.0), (1000, 2.0)):
        waits = [backoff.seconds(failures) for _ in range(50)]
        assert whole / 2 <= min(waits)
        assert max(waits) <= whole
        assert len(set(waits)) > 1
