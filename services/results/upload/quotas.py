"""Quotas of laboratories, so that a laboratory whose client is stuck in a loop does not slow down the others.

A laboratory's streams take turns, so that eight streams get no greater share than one. Each laboratory has three limits
per process: concurrent streams, persons per second, and duplicates per day. A stream above the rate waits, and flow
control passes the wait on to its sender. A stream above the limit of duplicates ends with an error that has RetryInfo.
Until the time in RetryInfo, every new stream ends with the same error. A client that ignores RetryInfo would retry a
thousand times a second. Its new stream is therefore held for some seconds before it is refused. The counts are in
memory, and a restart resets them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from hutong_texts import english

from services.domain.errors import ResourceExhausted
from services.domain.instant import MINUTE, SECOND, Instant, Span, shanghai_day
from services.domain.names import format_lab
from services.runtime.clock import Clock

PENALTY: Span = MINUTE
"""How long a laboratory waits after it has used up its duplicates. The wait slows a loop down to one batch a minute."""
REFUSAL_SECONDS = 5.0
"""How long a refused stream is held before its error is returned.

Each new stream at once sends as much as the flow-control window allows, so a new stream every second would slow down
other laboratories."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one laboratory in one process.

    A large laboratory reports about 100,000 persons a day and may send its day again a few times. A laboratory whose
    client was stuck in a loop sent 800,000 duplicates a day, for days.
    """

    streams: int = 8
    persons_per_second: int = 50_000
    duplicates_per_day: int = 500_000


class _Account:
    """The counts of one laboratory."""

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
    """Enforces the limits of laboratories in one process."""

    def __init__(self, limits: Limits, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._accounts: dict[str, _Account] = {}

    def __len__(self) -> int:
        """Return for how many laboratories counts are kept."""
        return len(self._accounts)

    @contextlib.asynccontextmanager
    async def stream(self, lab: str) -> AsyncIterator[None]:
        """Count a stream while the block runs.

        Raises:
            ResourceExhausted: QUOTA_EXCEEDED, the laboratory has too many streams or has to wait after duplicates.
        """
        account = self._accounts.setdefault(lab, _Account())
        if account.streams >= self._limits.streams:
            await self._sleep(REFUSAL_SECONDS)
            raise _exceeded(lab, english("streams at once, {limit}", limit=self._limits.streams), SECOND)
        account.streams += 1
        try:
            if account.allowed_from > self._clock.now():
                await self._sleep(REFUSAL_SECONDS)
                self._refuse_penalised(lab, account)
            yield
        finally:
            account.streams -= 1

    def reading(self, lab: str) -> asyncio.Lock:
        """Return the lock held while a batch of the laboratory is received. All its streams share it."""
        return self._accounts[lab].reading

    def storing(self, lab: str) -> asyncio.Lock:
        """Return the lock held while a batch of the laboratory is committed. All its streams share it."""
        return self._accounts[lab].storing

    async def admit(self, lab: str, persons: int) -> None:
        """Wait until the laboratory may send this many more persons."""
        account = self._accounts.setdefault(lab, _Account())
        now = self._clock.now()
        # The persons that the rate allows in one second may come at once. After that each batch waits until the rate
        # allows the batches before it. A wait is never longer than the time that the previous batch takes at the rate.
        # Otherwise a clock that is set back would stall the upload.
        wait = min(account.paid_until - now - SECOND, account.last_price)
        account.last_price = persons * SECOND // self._limits.persons_per_second
        account.paid_until = max(account.paid_until, now) + account.last_price
        if wait > 0:
            await self._sleep(wait / SECOND)

    def count_duplicates(self, lab: str, duplicates: int) -> None:
        """Count acknowledged duplicates.

        Raises:
            ResourceExhausted: QUOTA_EXCEEDED, the laboratory has sent more duplicates today than allowed.
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
            raise _exceeded(lab, english("duplicates a day, {limit}", limit=self._limits.duplicates_per_day), wait)


def _exceeded(lab: str, what: str, wait: Span) -> ResourceExhausted:
    name = format_lab(lab)
    return ResourceExhausted(
        "QUOTA_EXCEEDED",
        english(
            "{name} sends more than its share ({what}); what was acknowledged is stored, go on later",
            name=name,
            what=what,
        ),
        metadata={"lab": name, "what": what},
        retry_after=wait,
    )
