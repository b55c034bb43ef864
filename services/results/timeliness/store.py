"""Timeliness in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from hutong.results.v1.timeliness_pb2 import (
    TIMELINESS_GROUPING_CITY,
    TIMELINESS_GROUPING_LAB,
    TIMELINESS_GROUPING_PROVINCE,
    TIMELINESS_GROUPING_WHOLE,
)
from sqlalchemy import Connection

from services.domain.instant import DAY, Instant
from services.domain.region import prefix
from services.results.labs.copies import find_known
from services.results.labs.model import Lab
from services.results.labs.queries import codes_within, get_lab
from services.results.records.horizon import require_kept
from services.results.timeliness.delays import Timeliness, timeliness_of
from services.results.timeliness.groups import Counted, Part, count_by_lab, count_by_region, count_labs
from services.results.timeliness.model import WHOLE, Counts, Page, Position, Question, Row
from services.results.timeliness.silence import find_silent, find_silent_in
from services.storage.engine import Database

if TYPE_CHECKING:
    from services.results.timeliness.model import Grouping

_DIGITS = {TIMELINESS_GROUPING_PROVINCE: 2, TIMELINESS_GROUPING_CITY: 4, TIMELINESS_GROUPING_WHOLE: 0}
"""How many digits the codes of a grouping's regions have without the final zeros."""


class TimelinessStore:
    """Summaries of how long laboratories take to upload."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def summarize_lab(self, lab: str, question: Question, after: Position | None, limit: int) -> Page:
        """Return rows of one laboratory after a position. Raises NotFound and the errors of `require_kept`."""

        def work(connection: Connection) -> Page:
            horizon = _horizon_within(connection, question)
            kept = replace(question, kept_from=horizon)
            rows = _lab_rows(connection, [get_lab(connection, lab).uscc], kept)
            return Page(_page(rows, after, limit), horizon)

        return await self._database.read_in_bulk(work)

    async def summarize_region(
        self,
        region: str,
        groupings: Collection[Grouping],
        question: Question,
        after: Position | None,
        limit: int,
    ) -> Page:
        """Return rows of a region after a position; without groupings, return rows by laboratory.

        Raises the errors of `require_kept`.
        """

        def work(connection: Connection) -> Page:
            horizon = _horizon_within(connection, question)
            kept = replace(question, kept_from=horizon)
            rows = _region_rows(connection, region, groupings, kept, after, limit)
            return Page(_page(rows, after, limit), horizon)

        return await self._database.read_in_bulk(work)


def _horizon_within(connection: Connection, question: Question) -> Instant | None:
    """Return the horizon of retention if the interval begins before it; otherwise None.

    Raises the errors of `require_kept`.
    """
    horizon = require_kept(connection, question.end)
    return horizon if horizon is not None and question.start < horizon else None


def _page(rows: Iterable[Row], after: Position | None, limit: int) -> list[Row]:
    return list(islice((row for row in rows if after is None or row.position > after), limit))


def _region_rows(
    connection: Connection,
    region: str,
    groupings: Collection[Grouping],
    question: Question,
    after: Position | None,
    limit: int,
) -> Iterator[Row]:
    """Yield the row of a region, then the rows of each grouping in it. A page reads the counts of its own rows only."""

    @cache
    def silent() -> dict[str, str]:
        # Rows for parts of the interval have no numbers of silent laboratories.
        return {} if question.period else find_silent_in(connection, region, question)

    if after is None or after.grouping == TIMELINESS_GROUPING_WHOLE:
        yield from _place_rows(connection, region, TIMELINESS_GROUPING_WHOLE, question, None, limit, silent)
        after = None
    for grouping in sorted(set(groupings) or {TIMELINESS_GROUPING_LAB}):
        if after is not None and grouping < after.grouping:
            continue
        within = after if after is not None and grouping == after.grouping else None
        if grouping == TIMELINESS_GROUPING_LAB:
            for some in _steps(codes_within(connection, region), within, limit, question):
                yield from _lab_rows(connection, some, question)
        elif _DIGITS[grouping] > len(prefix(region)):
            yield from _place_rows(connection, region, grouping, question, within, limit, silent)


def _place_rows(
    connection: Connection,
    region: str,
    grouping: Grouping,
    question: Question,
    after: Position | None,
    limit: int,
    silent: Callable[[], dict[str, str]],
) -> Iterator[Row]:
    """Yield the rows of one grouping, such as one row for each city, inside a region.

    `silent` returns the region of each silent laboratory, by the laboratory's code.
    """
    digits = _DIGITS[grouping]
    lab_counts, silent_counts = count_labs(connection, region, digits), Counter[str]()
    for own in silent().values():
        silent_counts[own[:digits].ljust(6, "0") if digits else WHOLE] += 1
    for some in _steps(lab_counts, after, limit, question) if digits else [[WHOLE]]:
        counted = count_by_region(connection, region, digits, question, some if digits else None)
        for key in some:
            lab_count, silent_count = lab_counts.get(key, 0), silent_counts[key]
            yield from _rows_of(grouping, key, counted, question, lab_count=lab_count, silent_count=silent_count)


def _steps(all_keys: Iterable[str], after: Position | None, limit: int, question: Question) -> Iterator[list[str]]:
    """Yield the keys that have rows after a position, in order and in steps. One statement counts one step.

    If the interval is not divided, each key has one row, and one step fills a page. If the interval is divided, a key
    has up to one row a day, so fewer keys fill a page. Keys without reports then have no row, so each step takes more
    keys than the previous step.
    """
    last = after.key if after else WHOLE
    keys = sorted(key for key in all_keys if key > last or (question.period and key == last))
    size = max(1, limit // (1 + (question.end - question.start) // DAY)) if question.period else limit
    first = 0
    while first < len(keys):
        yield keys[first : first + size]
        first += size
        size = min(2 * size, limit)


def _lab_rows(connection: Connection, codes: list[str], question: Question) -> Iterator[Row]:
    """Yield the rows of laboratories, which are in order of code."""
    counted = count_by_lab(connection, codes, question)
    known = find_known(connection, codes)
    silent = {} if question.period else find_silent(connection, codes, known, question)
    for code in codes:
        yield from _rows_of(
            TIMELINESS_GROUPING_LAB, code, counted, question, lab=known.get(code), silence_start=silent.get(code)
        )


def _rows_of(
    grouping: Grouping,
    key: str,
    counted: Counted,
    question: Question,
    *,
    lab: Lab | None = None,
    silence_start: Instant | None = None,
    lab_count: int | None = None,
    silent_count: int | None = None,
) -> Iterator[Row]:
    """Yield the rows of one key: one row for each part that has counts, or one row for the whole interval."""
    by_part: Mapping[Part, Counts] = counted.get(key, {})
    name, contact = (lab.display_name, lab.contact or "") if lab else ("", "")
    if not question.period:
        counts = by_part.get(None, Counts())
        timeliness = _timeliness(counts, question)
        yield Row(grouping, key, timeliness, None, name, contact, silence_start, lab_count, silent_count)
        return
    for part in sorted(part for part in by_part if part is not None):
        yield Row(grouping, key, _timeliness(by_part[part], question), part, name, contact)


def _timeliness(counts: Counts, question: Question) -> Timeliness:
    return timeliness_of(counts.to_upload, counts.to_nation, counts.last_upload_time, question.late)
