"""Fairness between laboratories: one that is stuck in a loop is slowed down, and the others do not notice.

A laboratory's streams take turns, so that with eight of them it has no greater share than others with one. And there
are three limits for each laboratory and process: streams at once, persons a second (a stream that is ahead waits, which
flow control passes on to its sender), and duplicates a day (beyond them the stream ends with RetryInfo, and so does
every new one until that time). A loop that does not heed RetryInfo is held for a moment before it is told again: told
at once it would ask a thousand times a second. Rates are kept in memory: a restart forgives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from services.domain.errors import ResourceExhausted
from services.domain.instant import MINUTE, SECOND, Instant, Span, shanghai_day
from services.domain.names import format_lab
from services.runtime.clock import Clock

PENALTY: Span = MINUTE
"""How long a laboratory that has used up its duplicates waits before it may send another batch."""
REFUSAL_SECONDS = 5.0
"""How long a refused stream is held before it is told: each that a loop begins anew sends what fits into flow control's
window at once, which others notice when it comes every second."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one laboratory may do in one process.

    A great laboratory reports some 100,000 persons a day and may send its day again a few times over. One that was
    stuck in a loop sent 800,000 duplicates a day, for days.
    """

    streams: int = 8
    persons_per_second: int = 50_000
    duplicates_per_day: int = 500_000


class _Account:
    """What one laboratory has done."""

    __slots__ = ("allowed_from", "day", "duplicates", "last_price", "paid_until", "reading", "storing", "streams")

    def __init__(self) -> None:
        self.streams = 0
        self.reading = asyncio.Lock()
        self.storing = asyncio.Lock()
        self.paid_until: Instant = 0
        self.last_price: Span = 0
        self.day = 0
        self.duplicates = 0
        self.allowed_from: Instant = 0


class Quotas:
    """Keeps the laboratories of one process to their limits."""

    def __init__(self, limits: Limits, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._accounts: dict[str, _Account] = {}

    @contextlib.asynccontextmanager
    async def stream(self, lab: str) -> AsyncIterator[None]:
        """Count a stream for as long as the block lasts.

        Raises:
            ResourceExhausted: QUOTA_EXCEEDED, the laboratory has too many open or waits out a penalty.
        """
        account = self._accounts.setdefault(lab, _Account())
        if account.streams >= self._limits.streams:
            await self._sleep(REFUSAL_SECONDS)
            raise _exceeded(lab, f"streams at once, {self._limits.streams}", SECOND)
        account.streams += 1
        try:
            if account.allowed_from > self._clock.now():
                await self._sleep(REFUSAL_SECONDS)
                self._refuse_penalised(lab, account)
            yield
        finally:
            account.streams -= 1

    def reading(self, lab: str) -> asyncio.Lock:
        """Held while a batch of one of the laboratory's streams is taken in: however many it opens, it has one turn."""
        return self._accounts[lab].reading

    def storing(self, lab: str) -> asyncio.Lock:
        """Held while a batch of one of the laboratory's streams is stored."""
        return self._accounts[lab].storing

    async def admit(self, lab: str, persons: int) -> None:
        """Wait until the laboratory may send so many persons more."""
        account = self._accounts.setdefault(lab, _Account())
        now = self._clock.now()
        # A second's worth may come at once; after that each batch waits until those before it are paid for: never for
        # longer than the last one took, unless the clock was set back, which is to hold nobody up.
        wait = min(account.paid_until - now - SECOND, account.last_price)
        account.last_price = persons * SECOND // self._limits.persons_per_second
        account.paid_until = max(account.paid_until, now) + account.last_price
        if wait > 0:
            await self._sleep(wait / SECOND)

    def count_duplicates(self, lab: str, duplicates: int) -> None:
        """Count duplicates that were acknowledged.

        Raises:
            ResourceExhausted: QUOTA_EXCEEDED, there were more today than one laboratory may send.
        """
        account = self._accounts.setdefault(lab, _Account())
        now = self._clock.now()
        if (day := shanghai_day(now)) != account.day:
            account.day, account.duplicates = day, 0
        account.duplicates += duplicates
        if duplicates and account.duplicates > self._limits.duplicates_per_day:
            account.allowed_from = now + PENALTY
            self._refuse_penalised(lab, account)

    def _refuse_penalised(self, lab: str, account: _Account) -> None:
        wait = account.allowed_from - self._clock.now()
        if wait > 0:
            raise _exceeded(lab, f"duplicates a day, {self._limits.duplicates_per_day}", wait)


def _exceeded(lab: str, what: str, wait: Span) -> ResourceExhausted:
    name = format_lab(lab)
    return ResourceExhausted(
        "QUOTA_EXCEEDED",
        f"{name} sends more than its share ({what}); what was acknowledged is stored, go on later",
        metadata={"lab": name, "what": what},
        retry_after=wait,
    )
