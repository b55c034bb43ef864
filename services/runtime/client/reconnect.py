"""Keeps a connection to another service or node open as long as the service runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import structlog

from services.domain.errors import HutongError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits before reconnecting. Each failure doubles the wait, from the first wait up to the longest wait.

    The actual wait is random, between half of that length and all of it, so that many callers do not reconnect at once.
    """

    first_seconds: float = 0.1
    longest_seconds: float = 2.0

    def seconds(self, failures: int) -> float:
        """Return the wait after a number of failures in a row, which is at least 1."""
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 20))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads callers, not for security


async def reconnect_forever(
    connect: Callable[[], Awaitable[None]], on_disconnect: Callable[[str, str], None], backoff: Backoff
) -> None:
    """Open one connection after another until cancelled.

    `connect` opens a connection and uses it. If `connect` returns, it is called again at once. If `connect` raises an
    error, the connection has failed. `on_disconnect` then gets the cause and the error's text. The cause is gRPC's
    code, the error's reason or TIMEOUT. If the connection lasted longer than the longest wait, the next wait is the
    first wait again.
    """
    failures = 0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await connect()
        except grpc.aio.AioRpcError as error:
            on_disconnect(error.code().name, error.details() or "")
        except HutongError as error:
            on_disconnect(error.reason, error.message)
        except TimeoutError as error:
            on_disconnect("TIMEOUT", str(error))
        except asyncio.InvalidStateError:
            # gRPC raises this when a message is written to a call that has ended.
            on_disconnect("UNAVAILABLE", "the stream ended before a message was written")
        except Exception as error:  # noqa: BLE001 - whatever failed, the next connection may succeed
            _log.exception("a connection failed; it is opened again")
            on_disconnect(type(error).__name__, "")
        else:
            failures = 0
            await asyncio.sleep(0)
            continue
        failures = 1 if loop.time() - began > backoff.longest_seconds else failures + 1
        await asyncio.sleep(backoff.seconds(failures))
