"""Batches of a replication stay below gRPC's message limit, whatever texts laboratories send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from google.type.interval_pb2 import Interval
from hutong.exchange.v1.exchange_service_pb2 import ReplicateBatch
from hutong.results.v1.results_admin_service_pb2 import RecallResultsRequest

from services.domain.instant import to_timestamp
from services.results.changelog.model import Entry
from services.results.exchange.convert.results import replica_from_proto
from services.results.exchange.convert.tubes import tubes_from_proto
from services.results.exchange.model import MAX_CHANGES, Change, Replica, ReplicaTubes, SharedColumns
from services.results.exchange.upstream.batching import Frame, pack
from services.results.exchange.upstream.outbox import Outgoing, Page
from services.results.limits import ResultsLimits
from services.results.records.model import NEGATIVE, RECALLED, StoredResult
from services.runtime.clock import SystemClock
from services.runtime.limits import MAX_MESSAGE_BYTES
from tests.support.databases import MakeUrl
from tests.support.results.country import JILIN, Country, open_country
from tests.support.results.factories import LAB_NAME, NOW, REPORTED, USCC, make_tubes, subject_key
from tests.support.waiting import until

LONGEST = "𠮷"
"""A character of four bytes in UTF-8."""


def number(person: int) -> str:
    """Return a report number of the greatest length."""
    return f"{person:04d}" + LONGEST * 60


TUBE = SharedColumns(
    LONGEST * 64, 1, 2, 1, NEGATIVE, "220502", LONGEST * 200, REPORTED, REPORTED, REPORTED, REPORTED, "a" * 63
)  # fmt: skip


def tubes(first: int, persons: int, size: int = 1) -> ReplicaTubes:
    """Return tubes whose persons have the longest texts."""
    numbers = range(first, first + persons)
    return ReplicaTubes(
        USCC, 1, NOW, JILIN, [TUBE] * (persons // size), [size] * (persons // size),
        [subject_key(one) for one in numbers], [number(one) for one in numbers], [b"h" * 16] * persons,
        [b"\x01" + b"n" * 16] * persons,
    )  # fmt: skip


def replica(person: int) -> Replica:
    """Return a recalled result with the longest texts."""
    result = StoredResult(
        subject_key(person), REPORTED, USCC, number(person), 2, RECALLED, "", "", *TUBE, NOW, NOW, JILIN
    )  # fmt: skip
    return Replica(result, 1, b"h" * 16, b"s" * 16)


def commit(sequence: int, tubes: Sequence[ReplicaTubes] = (), changes: Sequence[Change] = ()) -> Outgoing:
    """Return a commit of the only writer."""
    return Outgoing(Entry(1, sequence, NOW + sequence, USCC, ()), tubes, changes)


def batches(*commits: Outgoing, max_bytes: int = ResultsLimits().replication_batch_bytes) -> list[ReplicateBatch]:
    """Return the batches into which commits are packed. Check that gRPC carries and the nation takes each."""
    frames: list[Frame] = pack(Page(commits, 0), NOW, max_bytes)
    assert max(frame.request.ByteSize() for frame in frames) < MAX_MESSAGE_BYTES * 3 // 4
    assert [one for frame in frames for one in frame.commits] == list(commits)
    packed = [frame.request.batch for frame in frames]
    assert [batch.offset for batch in packed[1:]] == [batch.next_offset for batch in packed[:-1]]
    return packed


def test_a_recall_of_the_longest_texts_is_split() -> None:
    """3,000 of them together exceed 4 MiB, which gRPC refuses to send."""
    sent = [replica(person) for person in range(MAX_CHANGES)]
    packed = batches(commit(1, changes=sent))
    assert [replica_from_proto(change.result) for batch in packed for change in batch.changes] == sent
    assert [batch.next_offset for batch in packed] == [0] * (len(packed) - 1) + [1]


@pytest.mark.parametrize("size", [1, 5])
def test_a_commit_of_the_longest_texts_is_split(size: int) -> None:
    """The commit may be divided within a tube."""
    packed = batches(commit(1, [tubes(0, 6_000, size)]))
    received = [tubes_from_proto(message, JILIN) for batch in packed for message in batch.tubes]
    assert [key for some in received for key in some.subject_keys] == list(tubes(0, 6_000).subject_keys)
    assert [text for some in received for text in some.report_numbers] == list(tubes(0, 6_000).report_numbers)
    assert {shared for some in received for shared in some.tubes} == {TUBE}


def test_small_commits_share_a_batch_until_it_has_bytes_enough() -> None:
    packed = batches(*(commit(1 + n, [tubes(500 * n, 500)], [replica(n)]) for n in range(10)))
    assert len(packed) < 10
    assert sum(len(some.report_number) for batch in packed for some in batch.tubes) == 5_000
    assert sum(len(batch.changes) for batch in packed) == 10


def test_a_change_larger_than_a_batch_should_be_goes_by_itself() -> None:
    packed = batches(commit(1, [tubes(0, 3)], [replica(4), replica(5)]), commit(2, [tubes(6, 1)]), max_bytes=100)
    assert [(len(batch.tubes), len(batch.changes)) for batch in packed] == [(1, 0)] * 3 + [(0, 1)] * 2 + [(1, 0)]


@pytest.fixture
async def country(tmp_path: Path, database_url: MakeUrl) -> AsyncIterator[Country]:
    async with open_country(tmp_path, database_url) as opened:
        yield opened


async def test_a_change_in_many_slices_arrives_completely(country: Country) -> None:
    country.limits = ResultsLimits(replication_batch_bytes=1_000)
    jilin = await country.join(JILIN)
    await jilin.node.register()
    await jilin.node.upload(make_tubes(100))
    recall = RecallResultsRequest(
        lab=LAB_NAME,
        report_interval=Interval(start_time=to_timestamp(0), end_time=to_timestamp(SystemClock().now())),
        reason="contaminated",
    )
    await jilin.node.admin.RecallResults(recall)
    assert len(jilin.results()) == 200
    await until(lambda: country.nation.results() == jilin.results())
