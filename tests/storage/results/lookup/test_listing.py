"""Listings: every result once and in order, across pages and with any filter."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from hutong.results.v1 import upload_pb2
from sqlalchemy import Connection

from services.domain.instant import DAY, HOUR
from services.results.limits import ResultsLimits
from services.results.lookup.model import LabPosition, ResultQuery
from services.results.records.model import ACTIVE, RECALLED, SUPERSEDED, StoredResult
from services.results.tables import metadata
from tests.support.databases import MakeUrl
from tests.support.results.factories import (
    NEGATIVE,
    NOW,
    PENDING,
    POSITIVE,
    REPORTED,
    USCC,
    make_document,
    make_tube,
    subject_key,
)
from tests.support.results.operations import correct, recall, register
from tests.support.results.store import Laboratory, open_laboratory
from tests.support.work import counting_work

EVERY_STATE = (ACTIVE, SUPERSEDED, RECALLED)


@pytest.fixture
async def laboratory(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    async with open_laboratory(database_url("results")) as opened:
        await register(opened)
        yield opened


async def pages_by_lab(laboratory: Laboratory, query: ResultQuery, size: int) -> list[StoredResult]:
    found: list[StoredResult] = []
    position: LabPosition | None = ("", 0)
    while position is not None:
        listing = await laboratory.stores.lookup.list_by_lab(USCC, query, position, size, NOW)
        assert len(listing.results) <= size
        found += listing.results
        position = listing.next_position
    return found


async def pages_by_subject(laboratory: Laboratory, query: ResultQuery, size: int) -> list[StoredResult]:
    found: list[StoredResult] = []
    while True:
        after = (
            (found[-1].reference_time, found[-1].lab, found[-1].report_number, found[-1].revision) if found else None
        )
        page = (await laboratory.stores.lookup.list_by_subject([subject_key(0)], query, after, size, NOW)).results
        if not page:
            return found
        found += page


def named(results: list[StoredResult]) -> list[str]:
    return [f"{result.report_number}@{result.revision}" for result in results]


def tubes_of_one_subject() -> list[upload_pb2.Tube]:
    """Return thirty tubes of one subject over three months, several at one instant, with unordered numbers."""
    tubes = []
    for index in random.Random(7).sample(range(30), 30):
        tube = make_tube(
            index, reported=REPORTED - (index // 3) * 8 * DAY, outcome=POSITIVE if index % 5 == 0 else NEGATIVE
        )
        tube.persons[0].document.CopyFrom(make_document(0))
        tubes.append(tube)
    return tubes


async def test_pages_of_any_size_list_every_result_once_and_in_order(laboratory: Laboratory) -> None:
    """Pages of five sizes have what one page has. Three of the thirty reports have three revisions at one instant."""
    await laboratory.send(tubes_of_one_subject())
    for number in ("R3", "R4", "R17"):
        await correct(laboratory, POSITIVE, number=number)
        await correct(laboratory, NEGATIVE, number=number)
    query = ResultQuery(states=EVERY_STATE)
    numbers = [f"R{index}" for index in range(30)]
    whole = await pages_by_subject(laboratory, query, 500)
    assert len(whole) == 36
    keys = [(-result.reference_time, result.lab, result.report_number, -result.revision) for result in whole]
    assert keys == sorted(keys)
    newest = named(await pages_by_lab(laboratory, ResultQuery(), 500))
    assert newest == [f"{number}@{3 if number in ('R3', 'R4', 'R17') else 1}" for number in sorted(numbers)]
    for size in (1, 2, 3, 7, 36):
        assert await pages_by_subject(laboratory, query, size) == whole
        assert named(await pages_by_lab(laboratory, ResultQuery(), size)) == newest


async def test_filters_narrow_both_listings_alike(laboratory: Laboratory) -> None:
    """Filters are outcomes, times (start included, end excluded) and states. The default omits superseded revisions."""
    await laboratory.send(tubes_of_one_subject())
    await correct(laboratory, NEGATIVE, number="R5")
    await recall(laboratory, REPORTED - 16 * DAY, REPORTED - 8 * DAY)
    cases = {
        ResultQuery(): 30,
        ResultQuery(outcomes=(POSITIVE,)): 5,
        ResultQuery(outcomes=(PENDING,)): 0,
        ResultQuery(states=(RECALLED,)): 3,
        ResultQuery(states=(ACTIVE,)): 27,
        ResultQuery(start_time=REPORTED - 8 * DAY): 6,
        ResultQuery(end_time=REPORTED - 8 * DAY): 24,
        ResultQuery(start_time=REPORTED - 8 * DAY, end_time=REPORTED): 3,
        ResultQuery(outcomes=(POSITIVE, NEGATIVE), states=(RECALLED,), end_time=NOW): 3,
    }
    for query, count in cases.items():
        by_lab = await pages_by_lab(laboratory, query, 4)
        by_person = await pages_by_subject(laboratory, query, 4)
        assert len(by_lab) == count, query
        assert sorted(named(by_lab)) == sorted(named(by_person))
    assert named(
        await pages_by_subject(laboratory, ResultQuery(states=(SUPERSEDED,), start_time=REPORTED - 8 * DAY), 4)
    ) == ["R5@1"]


async def test_what_arrives_between_two_pages_moves_nothing(laboratory: Laboratory) -> None:
    """An older report is listed and a newer one is not. Results that were there are listed exactly once."""
    await laboratory.send([make_tube(0, reported=REPORTED - 2 * index * HOUR) for index in range(1)])
    tubes = tubes_of_one_subject()
    await laboratory.send(tubes[:-2], upload_id="v")
    first = (await laboratory.stores.lookup.list_by_subject([subject_key(0)], ResultQuery(), None, 10, NOW)).results
    newer, older = make_tube(90, reported=NOW), make_tube(91, reported=REPORTED - 100 * DAY)
    for tube in (newer, older):
        tube.persons[0].document.CopyFrom(make_document(0))
    await laboratory.send([newer, older], upload_id="w")
    last = first[-1]
    after = (last.reference_time, last.lab, last.report_number, last.revision)
    rest = (await laboratory.stores.lookup.list_by_subject([subject_key(0)], ResultQuery(), after, 500, NOW)).results
    listed = [result.report_number for result in (*first, *rest)]
    assert len(listed) == len(set(listed))
    assert "R90" not in listed
    assert listed[-1] == "R91"
    assert {tube.persons[0].report_number for tube in tubes[:-2]} <= set(listed)


async def test_results_of_other_subjects_and_laboratories_are_not_listed(laboratory: Laboratory) -> None:
    await laboratory.send([make_tube(0), make_tube(1)])
    assert named(await pages_by_subject(laboratory, ResultQuery(), 5)) == ["R0@1"]
    listing = await laboratory.stores.lookup.list_by_lab("91410100MA0000001X", ResultQuery(), ("", 0), 5, NOW)
    assert (list(listing.results), listing.next_position) == ([], None)


async def test_a_laboratorys_history_is_listed_when_it_is_asked_for(laboratory: Laboratory) -> None:
    """The history is in order of report number, each report's newest revision first.

    It equals the listing by subject.
    """
    await laboratory.send(tubes_of_one_subject())
    for number in ("R3", "R4", "R17"):
        await correct(laboratory, POSITIVE, number=number)
        await correct(laboratory, NEGATIVE, number=number)
    await recall(laboratory, REPORTED - 16 * DAY, REPORTED - 8 * DAY)
    for query in (
        ResultQuery(states=EVERY_STATE),
        ResultQuery(states=(SUPERSEDED,)),
        ResultQuery(states=(SUPERSEDED, RECALLED)),
        ResultQuery(states=(SUPERSEDED,), outcomes=(POSITIVE,), end_time=REPORTED),
    ):
        whole = await pages_by_lab(laboratory, query, 500)
        keys = [(result.report_number, -result.revision) for result in whole]
        assert keys == sorted(keys)
        assert sorted(named(whole)) == sorted(named(await pages_by_subject(laboratory, query, 500)))
        for size in (1, 2, 5):
            assert await pages_by_lab(laboratory, query, size) == whole
    assert "R17@2" in named(await pages_by_lab(laboratory, ResultQuery(states=(SUPERSEDED,)), 9))


async def test_one_page_examines_a_limited_number_of_reports(laboratory: Laboratory) -> None:
    """The page may be short or empty, and says where to continue. All pages together list everything."""
    laboratory = laboratory.with_limits(listing_scan=10)
    tubes = [make_tube(index, outcome=POSITIVE if index in (37, 38) else NEGATIVE) for index in range(10, 60)]
    await laboratory.send(tubes)
    await recall(laboratory, REPORTED - HOUR, NOW, POSITIVE)
    sizes = []
    position: LabPosition | None = ("", 0)
    while position is not None:
        query = ResultQuery(outcomes=(POSITIVE,))
        listing = await laboratory.stores.lookup.list_by_lab(USCC, query, position, 5, NOW)
        sizes.append(len(listing.results))
        position = listing.next_position
    assert sizes == [0, 0, 2, 0, 0, 0]
    for query in (ResultQuery(), ResultQuery(states=EVERY_STATE)):
        assert len({*named(await pages_by_lab(laboratory, query, 3))}) == (50 if query == ResultQuery() else 52)


LITTLE_WORK = {"sqlite": 15 * ResultsLimits().listing_scan // 50, "postgresql": 3 * ResultsLimits().listing_scan}
"""The limit fits the reports that a page examines. All hundred thousand would take more than five times as much."""


async def test_a_narrow_listing_among_very_many_reports_is_as_quick_as_any(laboratory: Laboratory) -> None:
    """None of 100,000 reports matches. A page costs as much as the reports that it examines."""
    await laboratory.send([make_tube(0)])
    many = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)",
        "postgresql": "WITH n(i) AS (SELECT generate_series(1, 100000))",
    }[laboratory.dialect]

    def multiply(connection: Connection) -> None:
        for table, column in (("report_keys", "report_number"), ("results", "report_number")):
            columns = [each.name for each in metadata.tables[table].columns]
            values = ", ".join("'R' || (1000000 + i)" if name == column else name for name in columns)
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({', '.join(columns)}) {many} SELECT {values} FROM n, {table}"
                f" WHERE {table}.report_number = 'R0'"
            )

    await laboratory.database.write(multiply)
    # PostgreSQL does the same by itself soon after. Until then it takes the table for a small one, and reads all of it.
    if laboratory.dialect == "postgresql":
        await laboratory.database.write(lambda connection: connection.exec_driver_sql("ANALYZE"))

    async def work_of(query: ResultQuery) -> int:
        with counting_work(laboratory.database) as work:
            listing = await laboratory.stores.lookup.list_by_lab(USCC, query, ("", 0), 50, NOW)
        assert (list(listing.results), listing.next_position is not None) == ([], True)
        return work.amount

    for query in (
        ResultQuery(outcomes=(POSITIVE,)),
        ResultQuery(states=(RECALLED,)),
        ResultQuery(states=(SUPERSEDED,)),
        ResultQuery(end_time=REPORTED - DAY),
    ):
        assert await work_of(query) < LITTLE_WORK[laboratory.dialect], query
