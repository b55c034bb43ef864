"""SummarizeTimeliness: the numbers of a naive computation, and an error for whatever cannot be answered."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.timeliness_pb2 import TIMELINESS_GROUPING_LAB, Timeliness
from hutong.results.v1.timeliness_service_pb2 import SummarizeTimelinessRequest
from hutong.results.v1.timeliness_service_pb2_grpc import TimelinessServiceStub

from services.domain.instant import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Instant,
    Span,
    from_duration,
    from_timestamp,
    to_timestamp,
)
from services.results.retention.purge import purge
from services.storage.engine import open_database
from tests.support.errors import failure_of
from tests.support.lists import read_pages
from tests.support.results.factories import LAB_NAME, NOW, OTHER_USCC, PENDING, REPORTED, lab_to_register, make_tube
from tests.support.results.node import ResultsNode, batch_of, results_node, start

OTHER_LAB = f"labs/{OTHER_USCC}"
FIRST_HOUR = NOW - 10 * HOUR
LATE: Span = 4 * HOUR
Delays = dict[Instant, list[Span]]
"""Report time → how long after it the person's result was uploaded, for every person."""


@pytest.fixture
async def node(tmp_path: Path, url: str) -> AsyncIterator[ResultsNode]:
    """A node with a laboratory in Tonghua and one in Changchun."""
    async with results_node(tmp_path, url) as running:
        await running.register()
        other = lab_to_register(OTHER_USCC)
        other.region = "220100"
        await running.labs.CreateLab(CreateLabRequest(lab=other))
        yield running


def request(
    lab: str = "", region: str = "", since: Instant = FIRST_HOUR, until: Instant = NOW, late: Span | None = None
) -> SummarizeTimelinessRequest:
    asked = SummarizeTimelinessRequest(interval=Interval(start_time=to_timestamp(since), end_time=to_timestamp(until)))
    if lab:
        asked.lab = lab
    if region:
        asked.region = region
    if late is not None:
        asked.late_threshold.CopyFrom(Duration(seconds=late // SECOND))
    return asked


async def summarize(node: ResultsNode, asked: SummarizeTimelinessRequest) -> Sequence[Timeliness]:
    return (await TimelinessServiceStub(node.channel).SummarizeTimeliness(asked)).timeliness


async def report_for_hours(node: ResultsNode, lab: str, first: int, slow: float, chance: random.Random) -> Delays:
    """Upload tubes of one to five persons now and then during ten hours; a share of them comes hours late."""
    delays: Delays = {}
    for batch in range(8):
        node.clock.instant = FIRST_HOUR + (batch + 3) * HOUR + chance.randrange(MINUTE)
        tubes = []
        for _ in range(12):
            longest = 3 * HOUR if chance.random() < slow else 20 * MINUTE
            delay = chance.randrange(SECOND, longest) + (5 * HOUR if batch > 4 and chance.random() < slow else 0)
            reported = node.clock.instant - delay
            persons = chance.randrange(1, 6)
            tubes.append(make_tube(first, persons, reported=reported))
            delays.setdefault(reported, []).extend([delay] * persons)
            first += persons
        answers, error = await node.send([start(f"u{batch}", lab), batch_of(tubes)])
        assert error is None
        assert not answers[0].rejected_count
    return delays


def check(summary: Timeliness, expected: Sequence[Span]) -> None:
    """Exact counts; quantiles by nearest rank, never too short and at most a twentieth too long."""
    assert summary.result_count == len(expected)
    assert summary.late_count <= sum(delay > LATE for delay in expected)
    assert summary.late_count >= sum(delay > LATE * 1.05 for delay in expected)
    found = summary.report_to_upload
    for share, told_quantile in ((50, found.p50), (95, found.p95), (99, found.p99)):
        exact = sorted(expected)[-(-share * len(expected) // 100) - 1]
        assert exact <= from_duration(told_quantile) + 1
        assert from_duration(told_quantile) <= exact * 1.0501 + SECOND


async def test_the_numbers_are_those_of_a_naive_computation(node: ResultsNode) -> None:
    """The numbers are those of one laboratory, of a region and each of its laboratories, and of some hours only."""
    chance = random.Random(81)
    prompt = await report_for_hours(node, LAB_NAME, 0, 0.05, chance)
    late = await report_for_hours(node, OTHER_LAB, 100_000, 0.6, chance)
    node.clock.instant = NOW
    (one,) = await summarize(node, request(lab=LAB_NAME))
    assert one.lab == LAB_NAME
    check(one, [delay for delays in prompt.values() for delay in delays])
    whole, *labs = await summarize(node, request(region="220000"))
    assert [whole.region, *(lab.lab for lab in labs)] == ["220000", *sorted((LAB_NAME, OTHER_LAB))]
    by_lab = dict(zip(sorted((LAB_NAME, OTHER_LAB)), labs, strict=True))
    check(by_lab[OTHER_LAB], [delay for delays in late.values() for delay in delays])
    check(whole, [delay for found in (prompt, late) for delays in found.values() for delay in delays])
    assert by_lab[OTHER_LAB].late_count > by_lab[LAB_NAME].late_count
    since, until = FIRST_HOUR + 3 * HOUR, FIRST_HOUR + 6 * HOUR
    (some,) = await summarize(node, request(lab=OTHER_LAB, since=since, until=until))
    check(some, [delay for reported, delays in late.items() if since <= reported < until for delay in delays])
    assert by_lab[LAB_NAME] == one


async def test_what_is_late_is_the_askers_to_say(node: ResultsNode) -> None:
    """The default is four hours. The answer has the time of the last upload."""
    await node.upload([make_tube(0, reported=NOW - 3 * HOUR), make_tube(1, reported=NOW - 30 * MINUTE)])
    for late, count in ((None, 0), (2 * HOUR, 1), (10 * MINUTE, 2)):
        (one,) = await summarize(node, request(lab=LAB_NAME, late=late))
        assert (one.result_count, one.late_count) == (2, count)
        assert from_timestamp(one.last_upload_time) == NOW


async def test_only_reports_that_were_stored_count_and_count_once(node: ResultsNode) -> None:
    """Duplicates, rejected items, dry runs and sampling records do not count. The result of a sampling record does."""
    tubes = [make_tube(0), make_tube(1, region="999999"), make_tube(2, outcome=PENDING)]
    await node.upload(tubes, "trial", validate_only=True)
    await node.upload(tubes)
    await node.upload([*tubes, make_tube(2)], "again")
    (one,) = await summarize(node, request(lab=LAB_NAME))
    assert one.result_count == 2


async def test_a_laboratory_without_results_is_reported_as_silent(node: ResultsNode) -> None:
    """The row of a silent laboratory in its region's answer has only the name and the contact, and no delays."""
    await node.upload([make_tube(0)])
    whole, *labs = await summarize(node, request(region="220000"))
    silent = next(lab for lab in labs if lab.lab == OTHER_LAB)
    registered = lab_to_register(OTHER_USCC)
    assert silent == Timeliness(
        lab=OTHER_LAB,
        lab_display_name=registered.display_name,
        lab_contact=registered.contact,
        grouping=TIMELINESS_GROUPING_LAB,
    )
    assert whole.result_count == 1
    (nobody,) = await summarize(node, request(region="410000"))
    assert (nobody.region, nobody.result_count) == ("410000", 0)


async def test_a_region_is_paged_its_own_figures_first(node: ResultsNode) -> None:
    """Pages of any size have together what one page has, each laboratory once and the region once."""
    await node.upload([make_tube(0)])
    whole = await summarize(node, request(region="220000"))
    assert len(whole) == 3
    for size in (1, 2, 3):
        asked = request(region="220000")
        asked.page_size = size
        pages = await read_pages(node.timeliness.SummarizeTimeliness, asked)
        assert all(len(page.timeliness) <= size for page in pages)
        assert [row for page in pages for row in page.timeliness] == list(whole)


async def test_a_faulty_summary_is_refused_with_its_reason(node: ResultsNode) -> None:
    """Each fault with its code, reason and field."""
    asked = TimelinessServiceStub(node.channel).SummarizeTimeliness
    missing = SummarizeTimelinessRequest(lab=LAB_NAME)
    for call, code, reason, fields in (
        (request(lab="labs/91220501MA0HUTNG0X"), "INVALID_ARGUMENT", "BAD_USCC", ["lab"]),
        (request(lab="nobody"), "INVALID_ARGUMENT", "MALFORMED_NAME", ["lab"]),
        (request(region="990000"), "INVALID_ARGUMENT", "REGION_UNKNOWN", ["region"]),
        (request(region="22"), "INVALID_ARGUMENT", "INVALID_FIELD", ["region"]),
        (request(), "INVALID_ARGUMENT", "INVALID_FIELD", ["subject"]),
        (missing, "INVALID_ARGUMENT", "INVALID_FIELD", ["interval"]),
        (request(lab=LAB_NAME, since=NOW, until=NOW), "INVALID_ARGUMENT", "INVALID_FIELD", ["interval"]),
        (request(lab=LAB_NAME, since=NOW, until=FIRST_HOUR), "INVALID_ARGUMENT", "INVALID_FIELD", ["interval"]),
        (request(lab=LAB_NAME, late=-HOUR), "INVALID_ARGUMENT", "INVALID_FIELD", ["late_threshold"]),
        (request(lab="labs/91110000MA0000009D"), "NOT_FOUND", "NOT_FOUND", []),
    ):
        assert await failure_of(asked(call)) == (grpc.StatusCode[code], reason, fields), call
    wrong = request(lab=LAB_NAME)
    wrong.interval.end_time.CopyFrom(Timestamp(seconds=1, nanos=-1))
    assert (await failure_of(asked(wrong)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_interval_that_begins_before_the_horizon_is_refused(node: ResultsNode, url: str) -> None:
    """An interval that lies before the horizon as a whole is refused too."""
    old = REPORTED - 70 * DAY
    await node.upload([make_tube(0, reported=old), make_tube(1)])
    database = open_database(url)
    horizon = purge(database, REPORTED - 30 * DAY, NOW).horizon
    database.close()
    asked = TimelinessServiceStub(node.channel).SummarizeTimeliness
    whole = await asked(request(lab=LAB_NAME, since=old - HOUR))
    assert (whole.timeliness[0].result_count, whole.retention_start_time) == (1, to_timestamp(horizon))
    assert not (await asked(request(lab=LAB_NAME, since=horizon))).HasField("retention_start_time")
    removed = request(lab=LAB_NAME, since=old - HOUR, until=horizon)
    assert await failure_of(asked(removed)) == (grpc.StatusCode.FAILED_PRECONDITION, "BEFORE_HORIZON", [])
