"""Founding gives a node the policies that stood for its region at the node above.

A node publishes and answers only once it is founded. It is founded only once. Restarts do not change the policies that
it then has. A restore may bring back an older state of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from hutong_texts import english

from services.domain.errors import Unavailable
from services.domain.instant import SECOND
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.timing import PolicyTiming
from services.policy.upstream.store import UpstreamStore
from services.policy.upstream.watch import UpstreamWatch
from services.runtime.clock import Clock

_log = structlog.get_logger(__name__)


class Founding:
    """Knows whether this node is founded."""

    def __init__(
        self, store: UpstreamStore, watch: UpstreamWatch, cache: PolicyBookCache, clock: Clock, timing: PolicyTiming
    ) -> None:
        self._store = store
        self._watch = watch
        self._cache = cache
        self._clock = clock
        self._timing = timing
        self._is_founded = False
        self._is_current = False

    async def complete(self, sequence: int, nodes: Sequence[str]) -> None:
        """Wait until the watch has brought all changes of the node above up to `sequence`. Then record the founding.

        `nodes` are the regions of the nodes within this node's region that the node above knows.
        """
        await self._watch.wait_reached(sequence)
        await self._store.record_founded(nodes, self._clock.now())
        await self._cache.refresh()
        self._is_founded = True

    async def require(self) -> None:
        """Wait for a short time until this node is founded.

        Raises:
            Unavailable: UPSTREAM_UNAVAILABLE, the node above has not yet handed over the policies of this node's
                region.
        """
        if self._is_founded:
            return
        waited = 0.0
        while not await self._check():
            if waited >= self._timing.founding_seconds:
                raise Unavailable(
                    "UPSTREAM_UNAVAILABLE",
                    english("the node above has not yet handed over the policies of this node's region"),
                    metadata={"service": "policy"},
                    retry_after=SECOND,
                )
            await asyncio.sleep(self._timing.poll_seconds)
            waited += self._timing.poll_seconds

    async def require_current(self) -> None:
        """Do as `require`. Then let the watch bring back what this node may have lost by a restore.

        Only the first call waits for the watch, and only for a short time. While the node above is unavailable, this
        node publishes without what it may have lost.
        """
        await self.require()
        if not self._is_current:
            try:
                async with asyncio.timeout(self._timing.catch_up_seconds):
                    await self._watch.wait_reached(0)
            except TimeoutError:
                _log.warning("policies are changed while the node above is away")
            self._is_current = True

    async def _check(self) -> bool:
        """Return whether this process or another has completed the founding. If so, the book is up to date."""
        if not self._is_founded and await self._store.is_founded():
            await self._cache.refresh()
            self._is_founded = True
        return self._is_founded
