"""Timeliness in the database."""

from __future__ import annotations

from sqlalchemy import Connection

from services.domain.instant import Instant, Span
from services.results.labs.queries import codes_within, get_lab
from services.results.records.horizon import require_kept
from services.results.timeliness.delays import Summary, summarize
from services.storage.engine import Database


class TimelinessStore:
    """How late laboratories upload."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def summarize(self, lab: str, region: str, start: Instant, end: Instant, late: Span) -> Summary:
        """One laboratory's timeliness, or that of each of a region and under "" of all of them. NotFound."""

        def work(connection: Connection) -> Summary:
            horizon = require_kept(connection, end)
            usccs = [get_lab(connection, lab).uscc] if lab else codes_within(connection, region)
            found = summarize(connection, usccs, start, end, late)
            return Summary(found, horizon if horizon is not None and start < horizon else None)

        return await self._database.read(work)
