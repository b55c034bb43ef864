"""Opens a case for each report that was shown before its laboratory denied it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.results.internal.v1.internal_missing_report_service_pb2 import ListDeniedReportsResponse
from hutong.verification.v1.evidence_case_pb2 import EVIDENCE_CASE_KIND_DENIED_BY_LAB
from sqlalchemy import Connection

from services.domain.errors import HutongError
from services.domain.names import parse_lab
from services.domain.subject import Pepper
from services.runtime.clock import Clock
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.engine import Database
from services.verification.cases.model import CaseOpening
from services.verification.cases.opening import count_opened, find_with_case, open_cases
from services.verification.denials.client import ListDenied, NotAnswered
from services.verification.showings.model import report_tag
from services.verification.showings.store import find_first_showings, to_prefecture
from services.verification.stored_decisions.store import find_regions

SECONDS = 5.0
"""The time between two questions. A case is opened about this much after the denial is stored at this node."""
_log = structlog.get_logger(__name__)


class DeniedCaseOpener:
    """Opens cases. The first round reads all denials, so that a case that a restore has lost is opened again.

    Each process of a node does so. A report that has a case gets no second case.
    """

    def __init__(
        self, database: Database, list_denied: ListDenied, pepper: Pepper, clock: Clock, seconds: float = SECONDS
    ) -> None:
        self._database = database
        self._list_denied = list_denied
        self._pepper = pepper
        self._clock = clock
        self._seconds = seconds
        self._start: Timestamp | None = None

    async def run(self) -> None:
        """Open cases until cancelled. A background job."""
        is_well = True
        while True:
            try:
                await self.open_new()
                is_well = True
            except (HutongError, NotAnswered) as error:
                if is_well:
                    _log.warning("denied reports not read", text=str(error))
                is_well = False
            await asyncio.sleep(self._seconds)

    async def open_new(self) -> None:
        """Open cases for the denials that were stored since the last round.

        Raises:
            NotAnswered: Results did not answer.
            Unavailable: the database does not answer.
        """
        page = await self._list_denied(self._start, "")
        next_start = page.next_start_time
        await self._open(page)
        while page.next_page_token:
            page = await self._list_denied(self._start, page.next_page_token)
            await self._open(page)
        self._start = next_start

    async def _open(self, page: ListDeniedReportsResponse) -> None:
        reports = [(parse_lab(one.lab), one.report_number) for one in page.denied_reports]
        if not reports:
            return
        openings = await self._database.read(self._find_openings, reports)
        if openings:
            count_opened(await self._database.write(_open_cases, openings))

    def _find_openings(self, connection: Connection, reports: Sequence[tuple[str, str]]) -> list[CaseOpening]:
        """Return the cases of the reports that were shown and have no case.

        A report is left out if the decision for which it was shown is no longer stored, because nothing is left to
        examine.
        """
        of_tag = {report_tag(*report, pepper): report for report in reports for pepper in self._pepper.versions}
        shown = find_first_showings(connection, list(of_tag))
        kind = EVIDENCE_CASE_KIND_DENIED_BY_LAB
        opened = find_with_case(connection, {of_tag[tag] for tag in shown}, kind)
        new = {tag: decision for tag, decision in shown.items() if of_tag[tag] not in opened}
        regions = find_regions(connection, set(new.values())) if new else {}
        now = self._clock.now()
        return [
            CaseOpening(*of_tag[tag], kind, (), to_prefecture(regions[decision]), decision, "", now)
            for tag, decision in new.items()
            if regions.get(decision)
        ]


def _open_cases(connection: Connection, openings: Sequence[CaseOpening]) -> Counter[str]:
    lock_until_commit(connection, AdvisoryLock.SHOWN_REPORTS)
    return open_cases(connection, openings)
