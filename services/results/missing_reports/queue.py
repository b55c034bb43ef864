"""The queue of missing reports. A background job stores them, so that no decision waits for the database."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection

from services.domain.errors import HutongError
from services.domain.instant import HOUR, Instant, Span
from services.results.missing_reports.model import ShownReport
from services.results.missing_reports.presenters import PresenterLimit
from services.results.missing_reports.routing import MissingReportRouter
from services.results.missing_reports.store import KEPT, remove_old, select_sound
from services.results.records.horizon import read_horizon
from services.results.records.model import ReportName
from services.results.timing import ResultsTiming
from services.runtime.clock import Clock
from services.storage.engine import Database

MAX_WAITING = 2_000
"""The most claims that may wait. Further claims are dropped. Holders show their reports again, so nothing is lost for
good."""
BATCH = 500
"""How many claims one transaction stores."""
REMEMBERED_FOR: Span = HOUR
"""How long a stored claim is remembered. While it is remembered, the same claim is not stored again."""
MAX_REMEMBERED = 20_000
"""The most claims that are remembered. Beyond this number the oldest are forgotten."""

DROPPED = Counter(
    "hutong_missing_reports_dropped_total", "Claimed reports for which no missing report was stored", ["why"]
)

_log = structlog.get_logger(__name__)


class MissingReportQueue:
    """Collects claims without a record and stores them in batches."""

    def __init__(
        self,
        database: Database,
        router: MissingReportRouter,
        jurisdiction: str,
        clock: Clock,
        timing: ResultsTiming,
        capacity: int = MAX_WAITING,
        kept: Span = KEPT,
    ) -> None:
        self._database = database
        self._router = router
        self._jurisdiction = jurisdiction
        self._clock = clock
        self._timing = timing
        self._capacity = capacity
        self._kept = kept
        self._waiting: dict[ReportName, ShownReport] = {}
        self._presenters = PresenterLimit()
        self._recent: OrderedDict[ReportName, Instant] = OrderedDict()
        self._has_claims = asyncio.Event()
        self._last_removal: Instant | None = None

    def remember(
        self, lab: str, report_number: str, report_time: Instant | None, now: Instant, presenter: str = ""
    ) -> None:
        """Queue a claim of which no source has a record. This call never waits.

        If the queue is full, or if `presenter` has shown too many reports today, the claim is dropped.
        """
        name = (lab, report_number)
        written = self._recent.get(name)
        if name in self._waiting or (written is not None and now - written < REMEMBERED_FOR):
            return
        if len(self._waiting) >= self._capacity:
            DROPPED.labels("queue full").inc()
            return
        if not self._presenters.admits(presenter, lab, now):
            DROPPED.labels("shown by one caller").inc()
            return
        self._waiting[name] = ShownReport(lab, report_number, report_time, now)
        self._has_claims.set()

    async def run(self) -> None:
        """Store claims until cancelled.

        On cancellation the queued claims are lost until their holders show them again. A background job.
        """
        while True:
            await self._has_claims.wait()
            now = self._clock.now()
            claims: list[ShownReport] = []
            try:
                await self._remove_old(now)
                claims = list(self._waiting.values())[:BATCH]
                await self._store(claims, now)
                await asyncio.sleep(self._timing.missing_report_pause)
            except HutongError as error:
                _log.warning("missing reports not stored", reason=error.reason)
                await asyncio.sleep(self._timing.missing_report_retry)
            except Exception:  # noqa: BLE001 - the batch is dropped, so that its claims do not fail for ever
                _log.exception("missing reports dropped", count=len(claims))
                DROPPED.labels("failure").inc(len(claims))
                self._forget(claims)
                await asyncio.sleep(self._timing.missing_report_retry)

    async def _remove_old(self, now: Instant) -> None:
        """Remove missing reports after the time for which they are kept. This runs at most once an hour."""
        if self._last_removal is None or now - self._last_removal >= HOUR:
            await self._database.write(remove_old, now - self._kept)
            self._last_removal = now

    async def _store(self, claims: Sequence[ShownReport], now: Instant) -> None:
        """Store claims in one transaction, and remember them."""
        found_no_capacity = await self._database.write(self.raise_reports, claims, now)
        if found_no_capacity:
            DROPPED.labels("limit reached").inc(found_no_capacity)
        self._forget(claims)
        for claim in claims:
            name = (claim.lab, claim.report_number)
            self._recent[name] = now
            self._recent.move_to_end(name)
        while len(self._recent) > MAX_REMEMBERED:
            self._recent.popitem(last=False)

    def _forget(self, claims: Sequence[ShownReport]) -> None:
        """Take claims out of the queue."""
        for claim in claims:
            del self._waiting[(claim.lab, claim.report_number)]
        if not self._waiting:
            self._has_claims.clear()

    def raise_reports(self, connection: Connection, claims: Sequence[ShownReport], now: Instant) -> int:
        """Store claims that were made at this node, and pass on claims about laboratories of other nodes.

        Return how many reports were dropped because a capacity is used up.
        """
        sound = select_sound(claims, self._jurisdiction, read_horizon(connection))
        return self._router.raise_reports(connection, sound, now)
