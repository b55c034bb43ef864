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

    async def summarize_lab(self, lab: str, start: Instant, end: Instant, late: Span) -> Summary:
        """One laboratory's timeliness. NotFound when it is not registered."""

        def work(connection: Connection) -> Summary:
            horizon = _horizon_within(connection, start, end)
            uscc = get_lab(connection, lab).uscc
            return Summary({uscc: summarize(connection, [uscc], start, end, late)[uscc]}, horizon)

        return await self._database.read(work)

    async def summarize_region(
        self, region: str, after: str | None, size: int, start: Instant, end: Instant, late: Span
    ) -> Summary:
        """A page of a region: first, where `after` is None, all its laboratories together, then each by its code.

        `after` is the code after which a page begins, "" before the first laboratory.
        """

        def work(connection: Connection) -> Summary:
            horizon = _horizon_within(connection, start, end)
            usccs = sorted(codes_within(connection, region))
            rest = [uscc for uscc in usccs if uscc > (after or "")]
            page = rest[: size if after is not None else size - 1]
            # All of them are read for the first page alone: their sum is its first entry.
            found = summarize(connection, usccs if after is None else page, start, end, late)
            shown = {name: found[name] for name in (*([""] if after is None else []), *page)}
            more = len(page) < len(rest)
            return Summary(shown, horizon, (page[-1] if page else "") if more else None)

        return await self._database.read(work)


def _horizon_within(connection: Connection, start: Instant, end: Instant) -> Instant | None:
    """The horizon where the interval begins before it. FailedPrecondition when nothing of the interval is kept."""
    horizon = require_kept(connection, end)
    return horizon if horizon is not None and start < horizon else None
