"""Timeliness in the database."""

from __future__ import annotations

from sqlalchemy import Connection

from services.domain.instant import Instant, Span
from services.results.labs.queries import codes_within, get_lab
from services.results.records.horizon import require_kept
from services.results.timeliness.delays import Summary, summarize
from services.storage.engine import Database


class TimelinessStore:
    """Summaries of how long laboratories take to upload."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def summarize_lab(self, lab: str, start: Instant, end: Instant, late: Span) -> Summary:
        """Return one laboratory's timeliness. Raises NotFound and the errors of `require_kept`."""

        def work(connection: Connection) -> Summary:
            horizon = _horizon_within(connection, start, end)
            uscc = get_lab(connection, lab).uscc
            return Summary({uscc: summarize(connection, [uscc], start, end, late)[uscc]}, horizon)

        return await self._database.read_in_bulk(work)

    async def summarize_region(
        self, region: str, after: str | None, size: int, start: Instant, end: Instant, late: Span
    ) -> Summary:
        """Return a page of a region's laboratories, in order of code, with codes after `after`.

        If `after` is None, the page begins with the sum of all laboratories. If that sum filled the page before,
        `after` is "". Raises the errors of `require_kept`.
        """

        def work(connection: Connection) -> Summary:
            horizon = _horizon_within(connection, start, end)
            usccs = sorted(codes_within(connection, region))
            rest = [uscc for uscc in usccs if uscc > (after or "")]
            page = rest[: size if after is not None else size - 1]
            # Only the first page needs all laboratories, for their sum.
            found = summarize(connection, usccs if after is None else page, start, end, late)
            shown = {name: found[name] for name in (*([""] if after is None else []), *page)}
            more = len(page) < len(rest)
            return Summary(shown, horizon, (page[-1] if page else "") if more else None)

        return await self._database.read_in_bulk(work)


def _horizon_within(connection: Connection, start: Instant, end: Instant) -> Instant | None:
    """Return the horizon if the interval begins before it, else None. Raises the errors of `require_kept`."""
    horizon = require_kept(connection, end)
    return horizon if horizon is not None and start < horizon else None
