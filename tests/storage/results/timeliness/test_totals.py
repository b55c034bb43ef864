"""A summary has the same figures as a sum over all counts, whichever counts the totals include."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hutong.results.v1.timeliness_pb2 import (
    TIMELINESS_GROUPING_CITY,
    TIMELINESS_GROUPING_LAB,
    TIMELINESS_GROUPING_PROVINCE,
    TIMELINESS_GROUPING_WHOLE,
)
from hutong.type.v1.summary_period_pb2 import SUMMARY_PERIOD_DAY, SUMMARY_PERIOD_UNSPECIFIED, SUMMARY_PERIOD_WEEK
from sqlalchemy import Connection, func, select, update

from services.domain.instant import DAY, HOUR, MINUTE, Instant, from_datetime, shanghai_day_start
from services.domain.periods import part_of
from services.domain.region import prefix
from services.results.labs.tables import labs
from services.results.retention.purge import purge
from services.results.timeliness.delays import record_delays, record_national_delays, timeliness_of
from services.results.timeliness.model import Position, Question, Row
from services.results.timeliness.tables import city_delays, city_national_delays, delays, national_delays
from services.results.timeliness.totals import TOTALS, TotalsMaintainer, include_step, move_lab
from tests.support.databases import MakeUrl, count_waiting
from tests.support.results.factories import NOW, USCC
from tests.support.results.operations import register
from tests.support.results.store import Laboratory, add_lab, open_laboratory
from tests.support.waiting import until
from tests.support.work import noting_statements

REGIONS = ("220000", "220100", "220103", "220502", "410105", "110000", "110101")
ASKED = ("000000", "220000", "220100", "220103", "410100")
DIGITS = {TIMELINESS_GROUPING_WHOLE: 0, TIMELINESS_GROUPING_PROVINCE: 2, TIMELINESS_GROUPING_CITY: 4}
PERIODS = (SUMMARY_PERIOD_UNSPECIFIED, SUMMARY_PERIOD_DAY, SUMMARY_PERIOD_WEEK)
CODES = [f"91{number:02}{USCC[4:]}" for number in range(9)]
Figures = dict[Position, tuple[object, ...]]


def figures_of(rows: list[Row]) -> Figures:
    return {row.position: (row.timeliness, row.part, row.lab_count) for row in rows}


def sum_naively(connection: Connection, region: str, groupings: Sequence[int], question: Question) -> Figures:
    """Return the figures of each row, summed up in Python from every count of every laboratory."""
    known = connection.execute(select(labs))
    regions = {row.uscc: row.region for row in known if row.region.startswith(prefix(region))}
    first = max(question.start, question.kept_from or question.start) // HOUR
    counts: defaultdict[tuple[Any, str, Any], list[Any]] = defaultdict(lambda: [Counter(), Counter(), None])

    def keys_of(lab: str) -> Iterator[tuple[int, str]]:
        yield TIMELINESS_GROUPING_WHOLE, ""
        for grouping in groupings:
            digits = DIGITS.get(grouping, 0)
            if digits > len(prefix(region)):
                yield grouping, regions[lab][:digits].ljust(6, "0")
            elif grouping == TIMELINESS_GROUPING_LAB:
                yield grouping, lab

    for number, table in enumerate((delays, national_delays)):
        for row in connection.execute(select(table)):
            if row.lab not in regions or not first <= row.report_hour < -(-question.end // HOUR):
                continue
            instant = max(row.report_hour * HOUR, question.start)
            part = part_of(instant, question.period, question.start, question.end) if question.period else None
            for key in keys_of(row.lab):
                group = counts[*key, part]
                group[number][row.delay_class] += row.persons
                if number == 0:
                    group[2] = max(row.last_upload_time, group[2] or row.last_upload_time)
    lab_counts = Counter(key for lab in regions for key in keys_of(lab))
    if not question.period:
        for grouping, key in {(TIMELINESS_GROUPING_WHOLE, ""), *lab_counts}:
            counts[grouping, key, None]
    return {
        Position(grouping, key, part[0] if part else 0): (
            timeliness_of(*group, question.late),
            part,
            None if question.period or grouping == TIMELINESS_GROUPING_LAB else lab_counts[grouping, key],
        )
        for (grouping, key, part), group in counts.items()
    }


async def check(laboratory: Laboratory, draw: random.Random, kept_from: Instant | None) -> None:
    """Compare a summary of a random question, page by page, with a plain sum."""
    start = max(NOW - draw.randrange(20 * 24) * HOUR, kept_from or 0) - draw.choice((0, 7 * MINUTE, 30 * DAY))
    end = draw.choice((NOW + HOUR, start + draw.randrange(1, 9 * 24) * HOUR, start + MINUTE))
    if kept_from is not None and end <= kept_from:
        return
    region, groupings = draw.choice(ASKED), draw.sample([*DIGITS, TIMELINESS_GROUPING_LAB], draw.randrange(1, 4))
    horizon = kept_from if kept_from is not None and start < kept_from else None
    question = Question(start, end, HOUR, draw.choice(PERIODS), 0, NOW)
    kept = Question(start, end, HOUR, question.period, 0, NOW, horizon)
    rows: list[Row] = []
    limit = draw.choice((1, 3, 50))
    while True:
        after = rows[-1].position if rows else None
        page = await laboratory.stores.timeliness.summarize_region(region, groupings, question, after, limit)
        rows += page.rows
        if len(page.rows) < limit:
            break
    expected = await laboratory.database.read(sum_naively, region, groupings, kept)
    assert figures_of(rows) == expected
    assert [row.position for row in rows] == sorted(expected)


@pytest.mark.parametrize("seed", range(3))
async def test_a_summary_has_the_figures_of_all_counts(laboratory: Laboratory, seed: int) -> None:
    """Uploads, steps of any size, moves of laboratories and purges happen in any order."""
    draw = random.Random(seed)
    database = laboratory.database
    kept_from: Instant | None = None

    def upload(connection: Connection) -> None:
        lab, uploaded = draw.choice(CODES), NOW - draw.randrange(20 * 24 * 60) * MINUTE
        report_times = [uploaded - draw.randrange(3 * 24 * 60) * MINUTE for _ in range(draw.randrange(1, 30))]
        report_times = [time for time in report_times if kept_from is None or time >= kept_from]
        record_delays(connection, lab, report_times, uploaded)
        if draw.random() < 0.5:
            record_national_delays(connection, lab, report_times, draw.randrange(90) * MINUTE)

    def move(connection: Connection) -> None:
        lab, region = draw.choice(CODES[:-1]), draw.choice(REGIONS)
        move_lab(connection, lab, region)
        connection.execute(update(labs).where(labs.c.uscc == lab).values(region=region))

    def register_all(connection: Connection) -> None:
        # The last laboratory has counts, but is not registered.
        for code in CODES[:-1]:
            add_lab(connection, code, draw.choice(REGIONS))

    await database.write(register_all)
    for _ in range(8):
        for _ in range(draw.randrange(1, 6)):
            await database.write(upload)
        for table in TOTALS:
            await database.write(include_step, table, draw.choice((1, 20, 2_000)))
        if draw.random() < 0.3:
            await database.write(move)
        if draw.random() < 0.15:
            horizon = max(kept_from or 0, NOW - draw.randrange(10 * 24) * HOUR - 10 * MINUTE)
            # On PostgreSQL the horizon is the beginning of a month.
            kept_from = purge(database, horizon, NOW).horizon
        for _ in range(5):
            await check(laboratory, draw, kept_from)


async def test_what_a_process_of_the_release_before_adds_is_new(laboratory: Laboratory) -> None:
    """A process of the previous release knows nothing of the totals.

    It adds persons to a row that the totals include already.
    """
    database = laboratory.database
    maintainer = TotalsMaintainer(database, laboratory.stores.timing, rows_at_once=2)
    question = Question(NOW - 5 * DAY, NOW + 5 * DAY, HOUR, SUMMARY_PERIOD_UNSPECIFIED, 0, NOW)

    async def counted() -> tuple[int, int]:
        grouping = TIMELINESS_GROUPING_WHOLE
        (row,) = (await laboratory.stores.timeliness.summarize_region("000000", [grouping], question, None, 9)).rows
        included = await database.read(lambda connection: connection.execute(func.sum(city_delays.c.persons)).scalar())
        return row.timeliness.result_count, int(included or 0)

    def work(connection: Connection) -> None:
        add_lab(connection, USCC, "220100")
        record_delays(connection, USCC, [NOW - HOUR * hour for hour in range(50)], NOW)

    await database.write(work)
    assert await counted() == (50, 0)
    await maintainer.include_new()
    assert await counted() == (50, 50)
    await database.write(lambda connection: connection.execute(update(delays).values(persons=delays.c.persons + 3)))
    assert await counted() == (200, 50)
    await maintainer.include_new()
    await maintainer.include_new()
    assert await counted() == (200, 200)


async def test_the_counts_of_a_laboratory_go_with_it_to_another_city(laboratory: Laboratory) -> None:
    """The nation registers a laboratory for which a node has stated another region."""
    question = Question(NOW - 5 * DAY, NOW + 5 * DAY, HOUR, SUMMARY_PERIOD_UNSPECIFIED, 0, NOW)

    def work(connection: Connection) -> None:
        add_lab(connection, USCC, "410105")
        connection.execute(update(labs).values(source_node="410000"))
        record_delays(connection, USCC, [NOW - HOUR], NOW)
        include_step(connection, delays, 1_000)

    async def counted() -> dict[str, int]:
        groupings = [TIMELINESS_GROUPING_CITY]
        page = await laboratory.stores.timeliness.summarize_region("000000", groupings, question, None, 9)
        return {row.key: row.timeliness.result_count for row in page.rows}

    await laboratory.database.write(work)
    assert await counted() == {"": 1, "410100": 1}
    await register(laboratory)
    assert await counted() == {"": 1, "220500": 1}
    await laboratory.database.write(include_step, delays, 1_000)
    assert await counted() == {"": 1, "220500": 1}


async def test_a_laboratory_that_two_transactions_move_is_counted_once(postgres_url: MakeUrl) -> None:
    """A node moves it, and then the nation registers it. In between, its counts are included again."""
    async with open_laboratory(postgres_url("results")) as laboratory:
        database = laboratory.database

        async def wait_for(count: int) -> None:
            async def are_waiting() -> bool:
                return await database.read(count_waiting) == count

            await until(are_waiting)

        def work(connection: Connection) -> None:
            add_lab(connection, USCC, "410105")
            connection.execute(update(labs).values(source_node="410000"))
            record_delays(connection, USCC, [NOW - HOUR], NOW)
            include_step(connection, delays, 1_000)

        await database.write(work)
        with database.engine.connect() as connection, connection.begin():
            move_lab(connection, USCC, "110101")
            connection.execute(update(labs).values(region="110101"))
            included = asyncio.ensure_future(database.write(include_step, delays, 1_000))
            await wait_for(1)
            registered = asyncio.ensure_future(register(laboratory))
            await wait_for(2)
        await asyncio.gather(included, registered)
        await database.write(include_step, delays, 1_000)
        totals = select(city_delays.c.city, city_delays.c.persons)
        found = await database.read(lambda connection: [tuple(row) for row in connection.execute(totals)])
        assert found == [("220500", 1)]


async def test_a_purge_removes_the_totals_of_old_days(laboratory: Laboratory) -> None:
    def work(connection: Connection) -> None:
        add_lab(connection, USCC, "220100")
        times = [NOW - 12 * HOUR * number for number in range(100)]
        record_delays(connection, USCC, times, NOW)
        record_national_delays(connection, USCC, times, HOUR)
        for table in TOTALS:
            include_step(connection, table, 1_000)

    await laboratory.database.write(work)
    horizon = purge(laboratory.database, NOW - 2 * DAY, NOW).horizon
    for totals in (city_delays, city_national_delays):
        first: Callable[[Connection], Any] = lambda connection, totals=totals: connection.execute(  # noqa: E731
            func.min(totals.c.report_day)
        ).scalar()
        oldest = await laboratory.database.read(first)
        assert shanghai_day_start(oldest) <= horizon < shanghai_day_start(oldest + 1)


async def test_an_interval_may_be_as_long_as_the_contract_allows(laboratory: Laboratory) -> None:
    """The contract allows the years 1900 to 9999, which are more days than a statement takes parameters."""
    start, end = from_datetime(datetime(1900, 1, 1, tzinfo=UTC)), from_datetime(datetime(9999, 12, 31, tzinfo=UTC))

    def work(connection: Connection) -> None:
        add_lab(connection, USCC, "220100")
        record_delays(connection, USCC, [NOW - HOUR], NOW)
        include_step(connection, delays, 1_000)

    await laboratory.database.write(work)
    groupings = [TIMELINESS_GROUPING_CITY, TIMELINESS_GROUPING_PROVINCE]
    for period in PERIODS:
        question = Question(start, end, HOUR, period, 0, NOW)
        page = await laboratory.stores.timeliness.summarize_region("000000", groupings, question, None, 9)
        assert {row.key: row.timeliness.result_count for row in page.rows} == {"": 1, "220000": 1, "220100": 1}


async def test_silent_laboratories_are_looked_for_once(laboratory: Laboratory) -> None:
    """The rows of all groupings have the numbers of silent laboratories from one statement."""

    def work(connection: Connection) -> None:
        add_lab(connection, USCC, "220100")
        record_delays(connection, USCC, [NOW - 2 * DAY], NOW - 2 * DAY)

    await laboratory.database.write(work)
    question = Question(NOW - 5 * DAY, NOW, HOUR, SUMMARY_PERIOD_UNSPECIFIED, NOW - DAY, NOW)
    groupings = [TIMELINESS_GROUPING_PROVINCE, TIMELINESS_GROUPING_CITY]
    with noting_statements(laboratory.database.reading_engine) as statements:
        page = await laboratory.stores.timeliness.summarize_region("000000", groupings, question, None, 9)
    assert [row.lab_count for row in page.rows] == [1, 1, 1]
    assert sum("last_uploads" in statement for statement in statements) == 1
