"""Uploads at the same instant: stored once, never a deadlock, whatever the order.

Several stores on one database stand for several processes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest
from hutong.results.v1 import upload_pb2
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest, CorrectResultResponse

from services.domain.errors import InvalidArgument
from services.domain.instant import DAY, HOUR
from services.results.corrections.model import Correction
from services.results.records.model import ACTIVE, SUPERSEDED
from services.results.upload.model import Acknowledgement
from services.storage.idempotency import IdempotentRequest
from tests.support.databases import MakeUrl
from tests.support.results.factories import NOW, PENDING, REPORTED, USCC, make_tube, make_tubes
from tests.support.results.store import Laboratory, open_laboratory
from tests.support.waiting import turns

PROCESSES = 3
STREAMS = 3
"""Streams of each process."""
PERSONS = 120
BATCH = 40


@pytest.fixture
async def laboratories(database_url: MakeUrl) -> AsyncIterator[Sequence[Laboratory]]:
    url = database_url("results")
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_laboratory(url)) for _ in range(PROCESSES)]


async def upload_all(laboratory: Laboratory, tubes: Sequence[upload_pb2.Tube], upload_id: str) -> list[Acknowledgement]:
    """One stream: batch after batch."""
    position = laboratory.position(upload_id)
    return [
        await laboratory.send(tubes[offset : offset + BATCH], offset, position=position)
        for offset in range(0, len(tubes), BATCH)
    ]


def shuffled(tubes: Sequence[upload_pb2.Tube], seed: int) -> list[upload_pb2.Tube]:
    return random.Random(seed).sample(tubes, len(tubes))


async def race(
    laboratories: Sequence[Laboratory], tubes: Sequence[upload_pb2.Tube], name: str
) -> list[Acknowledgement]:
    """All streams at once, each with the same tubes in an order of its own."""
    streams = [
        upload_all(laboratory, shuffled(tubes, place * STREAMS + stream), f"{name}{place}-{stream}")
        for place, laboratory in enumerate(laboratories)
        for stream in range(STREAMS)
    ]
    return [each for acknowledgements in await asyncio.gather(*streams) for each in acknowledgements]


async def test_the_same_reports_sent_at_once_are_stored_once(laboratories: Sequence[Laboratory]) -> None:
    acknowledgements = await race(laboratories, make_tubes(PERSONS), "u")
    assert sum(each.accepted_count for each in acknowledgements) == PERSONS
    assert sum(each.duplicate_count for each in acknowledgements) == PERSONS * (PROCESSES * STREAMS - 1)
    assert sum(each.rejected_count for each in acknowledgements) == 0
    assert sorted(await laboratories[0].numbers()) == sorted(f"R{person}" for person in range(PERSONS))


async def test_results_of_sampling_records_sent_at_once_are_revised_once(laboratories: Sequence[Laboratory]) -> None:
    """Each stream revises the same reports in another order: a circle of waits unless all keep one."""
    await upload_all(laboratories[0], [make_tube(person, outcome=PENDING) for person in range(PERSONS)], "sampled")
    acknowledgements = await race(laboratories, make_tubes(PERSONS), "u")
    assert sum(each.accepted_count for each in acknowledgements) == PERSONS
    assert sum(each.rejected_count for each in acknowledgements) == 0
    rows = await laboratories[0].rows("report_number", "revision", "state")
    assert sorted(rows) == sorted(
        row for person in range(PERSONS) for row in ((f"R{person}", 1, SUPERSEDED), (f"R{person}", 2, ACTIVE))
    )


async def test_other_content_sent_at_once_is_decided_for_one_and_in_conflict_for_the_rest(
    laboratories: Sequence[Laboratory],
) -> None:
    """A later report time in another month is no way around the key."""
    versions = [
        [make_tube(person, reported=REPORTED - place * 31 * DAY) for person in range(BATCH)]
        for place in range(PROCESSES)
    ]
    streams = [
        upload_all(laboratory, shuffled(tubes, place), f"u{place}")
        for place, (laboratory, tubes) in enumerate(zip(laboratories, versions, strict=True))
    ]
    acknowledgements = [each for stream in await asyncio.gather(*streams) for each in stream]
    assert sum(each.accepted_count for each in acknowledgements) == BATCH
    assert sum(each.rejected_count for each in acknowledgements) == BATCH * (PROCESSES - 1)
    assert sorted(await laboratories[0].numbers()) == sorted(f"R{person}" for person in range(BATCH))


async def test_two_streams_of_one_upload_take_turns(laboratories: Sequence[Laboratory]) -> None:
    """Each batch is stored by one and a replay to the others: nothing twice, counters as of one stream."""
    tubes = [*make_tubes(PERSONS - 1), make_tube(500, region="999999")]
    streams = [upload_all(laboratory, tubes, "one") for laboratory in laboratories for _ in range(STREAMS)]
    all_told = await asyncio.gather(*streams)
    assert [each.committed_offset for each in all_told[0]] == sorted(each.committed_offset for each in all_told[0])
    upload = await laboratories[0].stores.uploads.get_upload(USCC, "one")
    assert (upload.committed_offset, upload.accepted_count, upload.duplicate_count, upload.rejected_count) == (
        PERSONS,
        PERSONS - 1,
        0,
        1,
    )
    assert all(stream[-1].rejected_count == 1 for stream in all_told), "told to each stream"
    assert len(await laboratories[0].numbers()) == PERSONS - 1


async def test_corrections_and_results_of_the_same_reports_never_wait_in_a_circle(
    laboratories: Sequence[Laboratory],
) -> None:
    """A clerk corrects sampling records while their results come in; each report ends with one newest revision."""
    persons = range(BATCH)
    await upload_all(laboratories[0], [make_tube(person, outcome=PENDING) for person in persons], "sampled")

    async def correct(laboratory: Laboratory, person: int) -> None:
        earlier = REPORTED - 5 * HOUR
        correction = Correction(USCC, f"R{person}", PENDING, earlier, None, "the clock was wrong")
        once = IdempotentRequest(CorrectResultRequest(), CorrectResultResponse, lambda _: CorrectResultResponse(), NOW)
        try:
            await laboratory.stores.corrections.correct(correction, once)
        except InvalidArgument:
            # The result was stored already. A report does not become a sampling record with an earlier time again.
            return

    async def correct_all(laboratory: Laboratory, seed: int) -> None:
        for person in random.Random(seed).sample(persons, len(persons)):
            await correct(laboratory, person)

    await asyncio.gather(
        *(upload_all(laboratories[place], shuffled(make_tubes(BATCH), place), f"u{place}") for place in range(2)),
        *(correct_all(laboratory, seed) for seed, laboratory in enumerate(laboratories)),
    )
    newest: dict[str, list[tuple[int, int, int]]] = {}
    for number, *rest in await laboratories[0].rows("report_number", "revision", "state", "outcome"):
        newest.setdefault(number, []).append((rest[0], rest[1], rest[2]))
    for revisions in newest.values():
        assert [revision for revision, _, _ in revisions] == list(range(1, len(revisions) + 1))
        assert [state for _, state, _ in revisions] == [SUPERSEDED] * (len(revisions) - 1) + [ACTIVE]
    assert len(newest) == BATCH


async def test_months_needed_at_once_by_several_processes_are_made_once(laboratories: Sequence[Laboratory]) -> None:
    """Others write into the months meanwhile. Making a month waits for writers, and never deadlocks."""
    months = 6

    async def fill(laboratory: Laboratory, place: int) -> None:
        for month in random.Random(place).sample(range(months), months):
            first = 1000 * place + 10 * month
            tubes = [make_tube(person, reported=NOW - (1 + month * 31) * DAY) for person in range(first, first + 5)]
            await laboratory.send(tubes, upload_id=f"m{place}-{month}")

    await asyncio.gather(*(fill(laboratory, place) for place, laboratory in enumerate(laboratories)))
    assert len(await laboratories[0].numbers()) == PROCESSES * months * 5


async def test_a_stream_with_a_cancelled_caller_ends_its_commit(laboratories: Sequence[Laboratory]) -> None:
    """The batch is stored as a whole or not at all, and its writer is free again: the next batch goes on."""
    task = asyncio.ensure_future(laboratories[0].send(make_tubes(BATCH), upload_id="cut"))
    await turns(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    acknowledgement = await laboratories[0].send(make_tubes(BATCH), upload_id="cut")
    assert acknowledgement.accepted_count + acknowledgement.duplicate_count == BATCH
    assert len(await laboratories[0].numbers()) == BATCH
