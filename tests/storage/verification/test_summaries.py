"""Summaries of refusals on SQLite and PostgreSQL equal a naive sum, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest
from hutong.type.v1 import summary_period_pb2
from sqlalchemy import Connection, insert

from services.domain.instant import DAY, HOUR, MINUTE, Instant, format_instant
from services.storage.engine import Database, open_database
from services.verification.decision_counts.model import CountKey, OutcomeCounts
from services.verification.decision_counts.store import add_counts
from services.verification.refusals.rows import to_row
from services.verification.refusals.rules import Refusal
from services.verification.refusals.summaries.model import (
    CITY,
    DISTRICT,
    ORIGIN_NODE,
    PROVINCE,
    PURPOSE,
    VENUE_KIND,
    WHOLE,
    RowKey,
    Summary,
    SummaryQuestion,
)
from services.verification.refusals.summaries.store import SummaryStore
from services.verification.refusals.tables import refusals
from tests.support.databases import MakeUrl
from tests.support.verification.naive_summaries import Decided, summarize_naively
from tests.support.verification.refusals import make_refusal

NOON: Instant = 1_660_190_400_000_000
"""2022-08-11T12:00:00+08:00, a Thursday."""
NATION = "000000"
GROUPINGS = (WHOLE, PROVINCE, CITY, DISTRICT, VENUE_KIND, PURPOSE, ORIGIN_NODE)
PERIODS: tuple[Any, ...] = tuple(summary_period_pb2.SummaryPeriod.values())
DAILY, WEEKLY, MONTHLY = PERIODS[1:]
REGIONS = ("410105", "410106", "410302", "410100", "410000", "411000", "220502", "220503", "310101")
ASKED = ("", NATION, "410000", "410100", "410105", "220000", "440000")
MANY = 1000


@pytest.fixture
def database(database_url: MakeUrl) -> Iterator[Database]:
    """A fresh database of the service."""
    database = open_database(database_url("verification"))
    yield database
    database.close()


async def _fill(database: Database, reports: Sequence[Refusal], decided: Sequence[Decided] = ()) -> None:
    def work(connection: Connection) -> None:
        connection.execute(insert(refusals), [to_row(one) for one in reports])
        for one in decided:
            keys = [CountKey(one.hour, one.region, one.purpose, outcome) for outcome in range(1, 5)]
            add_counts(connection, NATION, dict(zip(keys, one.counts, strict=True)))

    await database.write(work)


async def _ask(
    database: Database, question: SummaryQuestion, after: RowKey | None = None, limit: int = MANY
) -> list[Summary]:
    return list((await SummaryStore(database).summarize(question, after, limit, NOON)).rows)


def _random_report(random: Random) -> Refusal:
    refuse_time = NOON - random.randrange(100 * 24 * 60) * MINUTE
    create_time = refuse_time + random.randrange(3) * HOUR
    is_assessed = random.random() < 0.8
    return make_refusal(
        refuse_time,
        create_time=create_time,
        region=random.choice(REGIONS),
        venue_kind=random.randrange(3),
        purpose=random.randrange(4, 7),
        grounds=tuple(sorted(random.sample(range(1, 11), random.randrange(1, 4)))),
        assess_time=create_time if is_assessed else None,
        assessment=random.randrange(1, 4) if is_assessed else 0,
        answer_time=create_time + random.randrange(10**12) if random.random() < 0.6 else None,
        due_time=create_time + random.randrange(200) * DAY,
        escalation_count=refuse_time // MINUTE % 3,
        origin_node=("000000", "410000", "220500")[refuse_time // MINUTE % 5 % 3],
        duplicate_of="an earlier one" if random.random() < 0.1 else "",
    )


def _random_question(random: Random) -> SummaryQuestion:
    end_time = NOON - random.randrange(50 * 24 * 60) * MINUTE
    return SummaryQuestion(
        random.choice(ASKED),
        end_time - random.randrange(1, 60 * 24 * 60) * MINUTE,
        end_time,
        random.choice(PERIODS),
        random.sample(GROUPINGS, random.randrange(1, 4)),
        random.random() < 0.3,
    )


@pytest.mark.parametrize("seed", range(2))
async def test_summaries_equal_a_naive_sum(database: Database, seed: int) -> None:
    """All counts, medians, decisions and the order are the same, as a whole and page by page."""
    random = Random(seed)
    reports = [_random_report(random) for _ in range(150)]
    hours = [(NOON - random.randrange(100 * 24) * HOUR) // HOUR for _ in range(60)]
    decided = [
        Decided(hour, random.choice(REGIONS), random.randrange(4, 7), OutcomeCounts(*random.sample(range(50), 4)))
        for hour in hours
    ]
    await _fill(database, reports, decided if seed else ())
    found = 0
    for _ in range(15):
        question = _random_question(random)
        expected = summarize_naively(reports, decided if seed else (), question, NOON)
        assert await _ask(database, question) == expected
        first = random.randrange(1, 6)
        if len(expected) > first:
            after = expected[first - 1].key
            assert await _ask(database, question, after, 7) == expected[first : first + 7]
        found += len(expected)
    assert found > 100


@pytest.mark.parametrize(
    ("period", "starts", "ends"),
    [
        (DAILY, ["08-11 12", "08-12 00", "08-15 00"], ["08-12 00", "08-13 00", "08-16 00"]),
        (WEEKLY, ["08-11 12", "08-15 00"], ["08-15 00", "08-20 12"]),
        (MONTHLY, ["08-11 12"], ["08-20 12"]),
    ],
)
async def test_rows_are_civil_days_weeks_and_months(
    database: Database, period: Any, starts: list[str], ends: list[str]
) -> None:
    """Rows begin and end at midnight in Asia/Shanghai, clipped to the time that was asked for."""

    def told(instant: int) -> str:
        return format_instant(instant)[5:13].replace("T", " ")

    await _fill(database, [make_refusal(NOON + hours * HOUR) for hours in (0, 11, 12, 35, 84)])
    rows = await _ask(database, SummaryQuestion("", NOON, NOON + 9 * DAY, period))
    assert [told(row.key.start_time) for row in rows] == starts
    assert [told(row.end_time) for row in rows] == ends
    assert sum(row.total.refusal_count for row in rows) == 5


async def test_refusals_before_1970_have_their_day(database: Database) -> None:
    """The contract does not exclude them, and databases round negative numbers in another way."""
    reports = [make_refusal(-hours * HOUR) for hours in (1, 7, 9, 24, 400, 9000)]
    await _fill(database, reports)
    for period in PERIODS:
        question = SummaryQuestion("", -10_000 * HOUR, NOON, period, GROUPINGS)
        assert await _ask(database, question) == summarize_naively(reports, (), question, NOON)
