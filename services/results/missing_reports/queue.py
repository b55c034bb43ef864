"""Reports that were shown and have no record: remembered off the answer's path, and listed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict

import structlog
from hutong.results.v1.follow_up_pb2 import FOLLOW_UP_ACTION_UPLOAD_REPORT, FollowUp
from hutong.results.v1.results_service_pb2 import ListFollowUpsRequest, ListFollowUpsResponse
from prometheus_client import Counter

from services.domain.errors import HutongError
from services.domain.instant import HOUR, Instant, Span, to_timestamp
from services.domain.names import format_lab, format_node, parse_lab
from services.results.missing_reports.store import (
    ClaimedReport,
    ListedReminder,
    Position,
    list_reminders,
    raise_reminders,
    remove_old,
)
from services.results.records.queries import ReportName
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens, page_size
from services.storage.engine import Database

MAX_WAITING = 2_000
"""Claims that wait to be written; what comes beyond is dropped: its holder will show it again."""
BATCH = 500
"""Claims that one transaction writes."""
MEMORY: Span = HOUR
"""For how long a claim that was written is not written again."""
MAX_REMEMBERED = 20_000
_PAUSE_SECONDS = 0.2
"""Between two transactions: a flood of claims costs the database five small ones a second."""
_RETRY_SECONDS = 2.0

DROPPED = Counter("hutong_follow_ups_dropped_total", "Claimed reports of which no reminder was made", ["why"])

_log = structlog.get_logger(__name__)
_POSITION = (int, str, str)


class ReminderDesk:
    """Takes claims without a record, and lists what has come of them."""

    def __init__(
        self, database: Database, jurisdiction: str, clock: Clock, tokens: PageTokens, *, has_upstream: bool
    ) -> None:
        self._database = database
        self._jurisdiction = jurisdiction
        self._clock = clock
        self._tokens = tokens
        self._has_upstream = has_upstream
        self._waiting: dict[ReportName, ClaimedReport] = {}
        self._recent: OrderedDict[ReportName, Instant] = OrderedDict()
        self._come = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._swept: Instant | None = None

    def remember(self, lab: str, report_number: str, report_time: Instant | None, now: Instant) -> None:
        """A claim that no source has a record of. Returns at once, whatever becomes of it."""
        name = (lab, report_number)
        written = self._recent.get(name)
        if name in self._waiting or (written is not None and now - written < MEMORY):
            return
        if len(self._waiting) >= MAX_WAITING:
            DROPPED.labels("queue full").inc()
            return
        self._waiting[name] = ClaimedReport(lab, report_number, report_time, now)
        self._come.set()

    def begin(self) -> None:
        """Begin to write, without waiting."""
        self._task = asyncio.get_running_loop().create_task(self._drain())

    async def end(self) -> None:
        """Stop. What has not been written yet will be shown again."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _drain(self) -> None:
        while True:
            await self._come.wait()
            try:
                await self._write()
                await asyncio.sleep(_PAUSE_SECONDS)
            except HutongError as error:
                _log.warning("reminders not written", reason=error.reason)
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:  # noqa: BLE001 - whatever it is, it must not come again with the same claims for ever
                _log.exception("reminders dropped", count=len(self._waiting))
                DROPPED.labels("failure").inc(len(self._waiting))
                self._waiting.clear()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _write(self) -> None:
        """One transaction's worth of what waits."""
        now = self._clock.now()
        if self._swept is None or now - self._swept >= HOUR:
            await self._database.write(remove_old, now)
            self._swept = now
        claims = list(self._waiting.values())[:BATCH]
        found_no_room = await self._database.write(
            raise_reminders, claims, self._jurisdiction, has_upstream=self._has_upstream, now=now
        )
        if found_no_room:
            DROPPED.labels("no room").inc(found_no_room)
        for claim in claims:
            name = (claim.lab, claim.report_number)
            del self._waiting[name]
            self._recent[name] = now
            self._recent.move_to_end(name)
        while len(self._recent) > MAX_REMEMBERED:
            self._recent.popitem(last=False)
        if not self._waiting:
            self._come.clear()

    async def list(self, request: ListFollowUpsRequest) -> ListFollowUpsResponse:
        """One page, newest first."""
        lab = parse_lab(request.lab, "lab") if request.lab else ""
        place = self._tokens.position(request, _POSITION)
        after: Position | None = (place[0], place[1], place[2]) if place else None
        size = page_size(request.page_size)
        found = await self._database.read(list_reminders, lab, after, size + 1, include_closed=request.include_closed)
        shown = found[:size]
        token = ""
        if len(found) > size:
            last = shown[-1].reminder
            token = self._tokens.issue(request, [last.create_time, last.lab, last.report_number])
        return ListFollowUpsResponse(follow_ups=map(_to_proto, shown), next_page_token=token)


def _to_proto(listed: ListedReminder) -> FollowUp:
    reminder, close_time = listed
    return FollowUp(
        action=FOLLOW_UP_ACTION_UPLOAD_REPORT,
        lab=format_lab(reminder.lab),
        report_number=reminder.report_number,
        description="its holder has shown this report and no node has a record of it: upload it",
        create_time=to_timestamp(reminder.create_time),
        close_time=None if close_time is None else to_timestamp(close_time),
        raised_by=format_node(reminder.raised_by),
    )
