"""SummarizeTimeliness by province, city and laboratory, by day, week and month, and who is silent."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.type.interval_pb2 import Interval
from hutong.results.v1.lab_pb2 import LAB_STANDING_SUSPENDED, LAB_STANDING_WARNED
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, SetLabStandingRequest
from hutong.results.v1.timeliness_pb2 import (
    TIMELINESS_GROUPING_CITY,
    TIMELINESS_GROUPING_LAB,
    TIMELINESS_GROUPING_PROVINCE,
    TIMELINESS_GROUPING_WHOLE,
    Timeliness,
)
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest
from hutong.type.v1.summary_period_pb2 import SUMMARY_PERIOD_DAY, SUMMARY_PERIOD_MONTH, SUMMARY_PERIOD_WEEK

from services.domain.instant import DAY, HOUR, MINUTE, Instant, from_timestamp, to_duration, to_timestamp
from tests.support.databases import MakeUrl
from tests.support.lists import read_pages
from tests.support.results.factories import LAB_NAME, NOW, OTHER_USCC, lab_to_register, make_tube
from tests.support.results.node import ResultsNode, batch_of, results_node, start

CHANGCHUN = f"labs/{OTHER_USCC}"
PROVINCIAL, NEVER = "labs/91110000MA0000009D", "labs/91220502MA000LAB8G"
SINCE = NOW - 20 * DAY


@pytest.fixture
async def node(tmp_path: Path, sqlite_url: MakeUrl) -> AsyncIterator[ResultsNode]:
    """A node with laboratories in Tonghua, Changchun and Zhengzhou, and one in Jilin that never reports.

    The sums of groups are proven on both engines in tests/storage/results/timeliness.
    """
    async with results_node(tmp_path, sqlite_url("results")) as running:
        await running.register()
        for name, region in ((CHANGCHUN, "220103"), (PROVINCIAL, "410105"), (NEVER, "220000")):
            lab = lab_to_register(name.removeprefix("labs/"))
            lab.region, lab.display_name = region, f"laboratory in {region}"
            await running.labs.CreateLab(CreateLabRequest(lab=lab))
        yield running


def request(region: str = "000000", **fields: Any) -> SummarizeTimelinessRequest:
    interval = Interval(start_time=to_timestamp(SINCE), end_time=to_timestamp(NOW + HOUR))
    return SummarizeTimelinessRequest(region=region, interval=interval, **fields)


async def summarize(node: ResultsNode, asked: SummarizeTimelinessRequest) -> Sequence[Timeliness]:
    return (await node.timeliness.SummarizeTimeliness(asked)).timeliness


async def report(node: ResultsNode, lab: str, first: int, at: Instant, *delays: int) -> None:
    """Upload one report for each delay at an instant."""
    node.clock.instant = at
    tubes = [make_tube(first + index, reported=at - delay) for index, delay in enumerate(delays)]
    answers, error = await node.send([start(f"u{first}", lab), batch_of(tubes)])
    assert error is None
    assert not answers[0].rejected_count
    node.clock.instant = NOW


async def report_everywhere(node: ResultsNode) -> None:
    """Three laboratories report on several days; two reports in Changchun and one in Zhengzhou are late."""
    await report(node, LAB_NAME, 0, NOW - 9 * DAY, HOUR, HOUR)
    await report(node, LAB_NAME, 10, NOW - 2 * HOUR, HOUR, 20 * MINUTE, MINUTE)
    await report(node, CHANGCHUN, 20, NOW - 8 * DAY, HOUR, 9 * HOUR, 10 * HOUR)
    await report(node, PROVINCIAL, 30, NOW - 3 * DAY, 5 * HOUR, HOUR)


def told(rows: Sequence[Timeliness]) -> list[tuple[str, int, int, int, int]]:
    """Return subject, results, late results, laboratories and silent laboratories of each row."""
    return [
        (row.lab or row.region, row.result_count, row.late_count, row.lab_count, row.silent_lab_count) for row in rows
    ]


def subject_of(row: Timeliness) -> tuple[int, str]:
    return row.grouping, row.lab or row.region


async def test_several_groupings_come_in_one_call(node: ResultsNode) -> None:
    """The rows of each grouping are the same as in a call of its own. A grouping above the region has no rows."""
    await report_everywhere(node)
    groupings = [TIMELINESS_GROUPING_LAB, TIMELINESS_GROUPING_PROVINCE, TIMELINESS_GROUPING_CITY]
    alone = [await summarize(node, request(groupings=[grouping])) for grouping in sorted(groupings)]
    assert list(await summarize(node, request(groupings=groupings))) == [
        alone[0][0],
        *(one for rows in alone for one in rows[1:]),
    ]
    jilin = await summarize(node, request("220000", groupings=groupings))
    assert {row.grouping for row in jilin} == {
        TIMELINESS_GROUPING_WHOLE,
        TIMELINESS_GROUPING_CITY,
        TIMELINESS_GROUPING_LAB,
    }


async def test_a_region_is_split_by_province_and_city(node: ResultsNode) -> None:
    """Each group has the sums of its laboratories; a laboratory of a whole province is in a row of the province."""
    await report_everywhere(node)
    whole = ("000000", 10, 3, 4, 2)
    assert told(await summarize(node, request(groupings=[TIMELINESS_GROUPING_WHOLE]))) == [whole]
    assert told(await summarize(node, request(groupings=[TIMELINESS_GROUPING_PROVINCE]))) == [
        whole,
        ("220000", 8, 2, 3, 1),
        ("410000", 2, 1, 1, 1),
    ]
    assert told(await summarize(node, request(groupings=[TIMELINESS_GROUPING_CITY]))) == [
        whole,
        ("220000", 0, 0, 1, 0),
        ("220100", 3, 2, 1, 1),
        ("220500", 5, 0, 1, 0),
        ("410100", 2, 1, 1, 1),
    ]
    jilin = await summarize(node, request("220000", groupings=[TIMELINESS_GROUPING_CITY]))
    assert [row.region for row in jilin] == ["220000", "220000", "220100", "220500"]
    (changchun,) = await summarize(node, request("220100", groupings=[TIMELINESS_GROUPING_CITY]))
    assert told([changchun]) == [("220100", 3, 2, 1, 1)]
    assert changchun.report_to_upload == jilin[2].report_to_upload


GROUPINGS = (
    [TIMELINESS_GROUPING_WHOLE],
    [TIMELINESS_GROUPING_CITY],
    [TIMELINESS_GROUPING_LAB],
    [TIMELINESS_GROUPING_LAB, TIMELINESS_GROUPING_PROVINCE, TIMELINESS_GROUPING_CITY],
)
PERIODS = (SUMMARY_PERIOD_DAY, SUMMARY_PERIOD_WEEK, SUMMARY_PERIOD_MONTH)


async def test_a_trend_adds_up_to_the_whole(node: ResultsNode) -> None:
    """Rows of a subject are in order of time, lie in the interval and add up; pages of any size have the same rows."""
    await report_everywhere(node)
    for groupings, period in itertools.product(GROUPINGS, PERIODS):
        await check_trend(node, groupings, period)


async def check_trend(node: ResultsNode, groupings: Sequence[int], period: int) -> None:
    asked = request(groupings=groupings, period=period, page_size=500)
    rows = await summarize(node, asked)
    by_subject: dict[tuple[int, str], list[Timeliness]] = {}
    for row in rows:
        by_subject.setdefault(subject_of(row), []).append(row)
    subjects = await summarize(node, request(groupings=groupings))
    assert [*by_subject] == [subject_of(row) for row in subjects if row.result_count]
    for row in subjects:
        parts = by_subject.get(subject_of(row), [])
        assert sum(part.result_count for part in parts) == row.result_count
        assert sum(part.late_count for part in parts) == row.late_count
        starts = [from_timestamp(part.interval.start_time) for part in parts]
        assert starts == sorted(set(starts))
        assert all(SINCE <= instant < NOW + HOUR for instant in starts)
        assert all(part.result_count and not part.lab_count for part in parts)
    for size in (1, 2, 3):
        asked.page_size = size
        pages = await read_pages(node.timeliness.SummarizeTimeliness, asked)
        assert all(len(page.timeliness) <= size for page in pages)
        assert [row for page in pages for row in page.timeliness] == list(rows)


async def test_days_are_those_of_shanghai(node: ResultsNode) -> None:
    """A report of 00:30 in Shanghai is of the new day, though UTC still has the old one."""
    midnight = (NOW + 8 * HOUR) // DAY * DAY - 8 * HOUR - DAY
    await report(node, LAB_NAME, 0, midnight + HOUR, HOUR + MINUTE, 30 * MINUTE)
    asked = SummarizeTimelinessRequest(
        lab=LAB_NAME, interval=request().interval, period=SUMMARY_PERIOD_DAY, silent_after=to_duration(HOUR)
    )
    rows = await summarize(node, asked)
    assert [(from_timestamp(row.interval.start_time), row.result_count) for row in rows] == [
        (midnight - DAY, 1),
        (midnight, 1),
    ]
    assert {row.lab_display_name for row in rows} == {lab_to_register(OTHER_USCC).display_name}


async def test_silent_laboratories_are_those_that_may_report_and_have_reported(node: ResultsNode) -> None:
    """Since their last upload; not a suspended one, not one that never reported, and not before the stated time."""
    await report_everywhere(node)

    async def silent(**fields: Any) -> dict[str, Instant]:
        rows = await summarize(node, request(**fields))
        found = {row.lab: from_timestamp(row.silence_start_time) for row in rows if row.HasField("silence_start_time")}
        assert rows[0].silent_lab_count == len(found)
        return found

    assert await silent() == {CHANGCHUN: NOW - 8 * DAY, PROVINCIAL: NOW - 3 * DAY}
    assert await silent(silent_after=to_duration(4 * DAY)) == {CHANGCHUN: NOW - 8 * DAY}
    assert [*await silent(silent_after=to_duration(HOUR))] == sorted((LAB_NAME, CHANGCHUN, PROVINCIAL))
    for standing, count in ((LAB_STANDING_WARNED, 2), (LAB_STANDING_SUSPENDED, 1)):
        change = SetLabStandingRequest(name=CHANGCHUN, standing=standing, reason="late")
        await node.labs.SetLabStanding(change)
        assert len(await silent()) == count
    # A report that was issued long ago ends the silence too.
    await report(node, PROVINCIAL, 40, NOW, 30 * DAY)
    assert await silent() == {}


async def test_rows_of_laboratories_name_whom_to_ask(node: ResultsNode) -> None:
    """The registered name and the contact stand beside the figures of a laboratory, and of no region."""
    whole, *labs = await summarize(node, request("220000"))
    assert (whole.lab_display_name, whole.lab_contact) == ("", "")
    names = {row.lab: (row.lab_display_name, row.lab_contact) for row in labs}
    assert names[CHANGCHUN] == ("laboratory in 220103", lab_to_register(OTHER_USCC).contact)
    assert len(names) == 3
