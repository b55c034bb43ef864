"""Keeping a connection to another service or node, for as long as the service runs."""

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
    """How long to wait after a connection was lost: doubled from the first wait to the longest.

    Each wait is spread between a half and the whole of its length, so that many callers do not come back at once.
    """

    first_seconds: float = 0.1
    longest_seconds: float = 2.0

    def seconds(self, losses: int) -> float:
        """The wait after so many losses in a row, from 1 on."""
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** min(losses - 1, 20))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads callers, guards nothing


async def reconnect_forever(
    connect: Callable[[], Awaitable[None]], on_lost: Callable[[str, str], None], backoff: Backoff
) -> None:
    """Hold one connection after another.

    `connect` opens a connection and holds it: it returns when it is to be renewed, and raises when it was lost.
    `on_lost` is then told why: gRPC's code or the error's reason, and the error's text. A connection that lasted longer
    than the longest wait ends a row of losses.
    """
    losses = 0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await connect()
        except grpc.aio.AioRpcError as error:
            on_lost(error.code().name, error.details() or "")
        except HutongError as error:
            on_lost(error.reason, error.message)
        except TimeoutError as error:
            on_lost("TIMEOUT", str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next connection may do
            _log.exception("a connection failed; it is opened again")
            on_lost(type(error).__name__, "")
        else:
            losses = 0
            await asyncio.sleep(0)
            continue
        losses = 1 if loop.time() - began > backoff.longest_seconds else losses + 1
        await asyncio.sleep(backoff.seconds(losses))
