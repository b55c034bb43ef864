"""Timeliness in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from hutong.results.v1.timeliness_pb2 import (
    TIMELINESS_GROUPING_CITY,
    TIMELINESS_GROUPING_PROVINCE,
    TIMELINESS_GROUPING_WHOLE,
)
from sqlalchemy import Connection

from services.domain.instant import Instant
from services.domain.region import prefix
from services.results.labs.copies import find_known
from services.results.labs.model import Lab
from services.results.labs.queries import codes_within, get_lab
from services.results.records.horizon import require_kept
from services.results.timeliness.delays import Timeliness, timeliness_of
from services.results.timeliness.groups import Counted, Part, count_by_lab, count_by_region, count_labs, sum_up
from services.results.timeliness.model import WHOLE, Counts, Page, Position, Question, Row
from services.results.timeliness.silence import find_silent, find_silent_in
from services.storage.engine import Database

if TYPE_CHECKING:
    from services.results.timeliness.model import Grouping

_DIGITS = {TIMELINESS_GROUPING_PROVINCE: 2, TIMELINESS_GROUPING_CITY: 4, TIMELINESS_GROUPING_WHOLE: 0}
"""How many digits the codes of a grouping's regions have of their own. All other groupings are by laboratory."""


class TimelinessStore:
    """Summaries of how long laboratories take to upload."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def summarize_lab(self, lab: str, question: Question, after: Position | None, limit: int) -> Page:
        """Return rows of one laboratory after a position. Raises NotFound and the errors of `require_kept`."""

        def work(connection: Connection) -> Page:
            horizon = _horizon_within(connection, question)
            rows = _lab_rows(connection, [get_lab(connection, lab).uscc], question)
            return Page(_page(rows, after, limit), horizon)

        return await self._database.read_in_bulk(work)

    async def summarize_region(
        self, region: str, grouping: Grouping, question: Question, after: Position | None, limit: int
    ) -> Page:
        """Return rows of a region after a position. Raises the errors of `require_kept`."""

        def work(connection: Connection) -> Page:
            horizon = _horizon_within(connection, question)
            if grouping in _DIGITS:
                rows = _region_rows(connection, region, _DIGITS[grouping], question)
            else:
                rows = _whole_and_lab_rows(connection, region, question, after, limit)
            return Page(_page(rows, after, limit), horizon)

        return await self._database.read_in_bulk(work)


def _horizon_within(connection: Connection, question: Question) -> Instant | None:
    """Return the horizon if the interval begins before it, else None. Raises the errors of `require_kept`."""
    horizon = require_kept(connection, question.end)
    return horizon if horizon is not None and question.start < horizon else None


def _page(rows: Iterable[Row], after: Position | None, limit: int) -> list[Row]:
    return list(islice((row for row in rows if after is None or row.position > after), limit))


def _region_rows(connection: Connection, region: str, digits: int, question: Question) -> Iterator[Row]:
    """Yield the row of a region, then the rows of the regions in it whose codes have so many digits of their own."""
    if digits <= len(prefix(region)):
        digits = 0
    counted = count_by_region(connection, region, digits, question)
    lab_counts, silent_counts = count_labs(connection, region, digits), Counter[str]()
    for own in find_silent_in(connection, region, question).values():
        silent_counts[own[:digits].ljust(6, "0") if digits else WHOLE] += 1
    if digits:
        counted[WHOLE] = sum_up(counted.values())
        lab_counts[WHOLE], silent_counts[WHOLE] = sum(lab_counts.values()), silent_counts.total()
    for key in sorted({WHOLE, *lab_counts}):
        yield from _rows_of(key, counted, question, lab_count=lab_counts.get(key, 0), silent_count=silent_counts[key])


def _whole_and_lab_rows(
    connection: Connection, region: str, question: Question, after: Position | None, limit: int
) -> Iterator[Row]:
    """Yield the row of a region, unless the page begins after it, then the rows of its laboratories."""
    key = after[0] if after else WHOLE
    if key == WHOLE:
        yield from _region_rows(connection, region, 0, question)
    codes = [code for code in sorted(codes_within(connection, region)) if code >= key]
    # With a period, laboratories without reports have no row. Then more laboratories are needed for a page.
    for first in range(0, len(codes), limit):
        yield from _lab_rows(connection, codes[first : first + limit], question)


def _lab_rows(connection: Connection, codes: list[str], question: Question) -> Iterator[Row]:
    """Yield the rows of laboratories, which are in order of code."""
    counted = count_by_lab(connection, codes, question)
    known = find_known(connection, codes)
    silent = find_silent(connection, codes, known, question)
    for code in codes:
        yield from _rows_of(code, counted, question, lab=known.get(code), silence_start=silent.get(code))


def _rows_of(
    key: str,
    counted: Counted,
    question: Question,
    *,
    lab: Lab | None = None,
    silence_start: Instant | None = None,
    lab_count: int | None = None,
    silent_count: int | None = None,
) -> Iterator[Row]:
    """Yield the rows of one key: one for each part that has counts, or one for the whole interval."""
    by_part: Mapping[Part, Counts] = counted.get(key, {})
    name, contact = (lab.display_name, lab.contact) if lab else ("", "")
    if not question.period:
        counts = by_part.get(None, Counts())
        yield Row(key, _timeliness(counts, question), None, name, contact, silence_start, lab_count, silent_count)
        return
    for part in sorted(part for part in by_part if part is not None):
        yield Row(key, _timeliness(by_part[part], question), part, name, contact)


def _timeliness(counts: Counts, question: Question) -> Timeliness:
    return timeliness_of(counts.to_upload, counts.to_nation, counts.last_upload_time, question.late)
