"""A day that is sent again is recognised by its batches. It is answered as if each tube had been validated again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hutong.results.v1 import lab_pb2, upload_pb2
from hutong.results.v1.lab_service_pb2 import SetLabStandingRequest
from hutong.results.v1.results_admin_service_pb2 import CorrectResultRequest
from sqlalchemy import select

from services.domain.instant import DAY, HOUR, to_timestamp
from services.results.records.partitions import month_of, month_start
from services.results.retention.purge import purge
from services.results.upload.model import ValidatedBatch
from services.results.upload.store import UploadStore
from services.results.upload.tables import known_batches
from services.results.upload.workers import ValidationPool
from services.storage.engine import open_database
from tests.support.results.factories import LAB_NAME, NOW, PENDING, POSITIVE, make_tube
from tests.support.results.node import ResultsNode


class ValidatedTubes:
    """Counts validated tubes."""

    def __init__(self) -> None:
        self.count = 0


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> ValidatedTubes:
    counter = ValidatedTubes()
    validate = ValidationPool.validate

    async def counting(self: ValidationPool, *arguments: Any) -> ValidatedBatch:
        batch = await validate(self, *arguments)
        counter.count += len(batch.person_counts)
        return batch

    monkeypatch.setattr(ValidationPool, "validate", counting)
    return counter


def a_day() -> list[upload_pb2.Tube]:
    """Right tubes, a sampling record and its result, a duplicate, a conflict, a bad person in a pool."""
    pool = make_tube(10, 3)
    pool.persons[1].document.number = "410105186001010011"
    tubes = [make_tube(0), make_tube(1, outcome=PENDING), make_tube(1), make_tube(0), make_tube(0, site="另一采样点")]
    return [*tubes, pool, make_tube(20, 5), make_tube(30)]


async def forget(node: ResultsNode) -> None:
    """Set a standing of long ago. It changes no result, but the batches have to be validated again."""
    await node.labs.SetLabStanding(
        SetLabStandingRequest(
            name=LAB_NAME,
            standing=lab_pb2.LAB_STANDING_AUTHORIZED,
            effective_time=to_timestamp(NOW - 400 * DAY),
            reason="confirmed",
        )
    )


def essence(answers: list[Any]) -> list[Any]:
    """Return answers without the consistency token, which names an instant."""
    for answer in answers:
        answer.ClearField("consistency_token")
    return answers


async def test_a_day_sent_again_is_answered_as_if_it_had_been_validated(
    node: ResultsNode, validated: ValidatedTubes
) -> None:
    """In any upload, rejections are repeated, and all other persons are duplicates."""
    first = await node.upload(a_day(), "first", batch=5)
    assert [answer.accepted_count for answer in first] == [3, 8]
    validated.count = 0
    again = essence(await node.upload(a_day(), "again", batch=5))
    assert validated.count == 2, "the conflict and the pool with a bad person, and nothing else"
    assert [(answer.accepted_count, answer.rejected_count) for answer in again] == [(0, 1), (0, 1)]
    await forget(node)
    validated.count = 0
    assert essence(await node.upload(a_day(), "once-more", batch=5)) == again
    assert validated.count == len(a_day())


async def test_a_batch_that_differs_in_one_word_is_another(node: ResultsNode, validated: ValidatedTubes) -> None:
    """The changed batch is validated and found in conflict."""
    await node.upload([make_tube(0), make_tube(1)], "first")
    validated.count = 0
    (answer,) = await node.upload([make_tube(0), make_tube(1, site="另一采样点")], "altered")
    assert validated.count == 2
    assert (answer.duplicate_count, answer.rejected_count) == (1, 1)


async def test_a_rejected_tube_is_validated_again(node: ResultsNode) -> None:
    """Reports too early for our clock come in once their time is there, though the batch is known."""
    early = make_tube(2)
    early.report_time.CopyFrom(to_timestamp(NOW + HOUR))
    (told,) = await node.upload([make_tube(0), make_tube(1), early], "first")
    assert (told.accepted_count, told.rejected_count) == (2, 1)
    node.clock.advance(2 * HOUR)
    (answer,) = await node.upload([make_tube(0), make_tube(1), early], "later")
    assert (answer.accepted_count, answer.duplicate_count, answer.rejected_count) == (1, 2, 0)


async def test_a_dry_run_validates_all_and_stores_nothing(node: ResultsNode, validated: ValidatedTubes) -> None:
    """Batches of a dry run are neither recognised nor remembered."""
    await node.upload([make_tube(0)], "dry-run", validate_only=True)
    (answer,) = await node.upload([make_tube(0)], "first")
    assert answer.accepted_count == 1
    validated.count = 0
    (told,) = await node.upload([make_tube(0)], "dry-run-again", validate_only=True)
    assert (told.duplicate_count, validated.count) == (1, 1)


async def test_a_correction_does_not_let_the_old_content_back_in(node: ResultsNode) -> None:
    """The day that held the error is a duplicate still, and the correction stands."""
    (answer,) = await node.upload([make_tube(0)], "first")
    name = f"{LAB_NAME}/results/{make_tube(0).persons[0].report_number}"
    await node.admin.CorrectResult(CorrectResultRequest(name=name, outcome=POSITIVE, reason="typed wrongly"))
    (answer,) = await node.upload([make_tube(0)], "again")
    assert (answer.accepted_count, answer.duplicate_count) == (0, 1)


def before_next_commit(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[None]]) -> None:
    """Let something happen between the validation of the next batch and its commit."""
    waiting = [happens]

    def after(commit: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def commit_after(self: UploadStore, *arguments: Any) -> Any:
            if waiting:
                await waiting.pop()()
            return await commit(self, *arguments)

        return commit_after

    for name in ("commit_batch", "commit_group"):
        monkeypatch.setattr(UploadStore, name, after(getattr(UploadStore, name)))


async def test_a_batch_validated_under_an_old_standing_is_not_known_under_the_new(
    node: ResultsNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laboratory is suspended between validation and commit, so a repeat is validated by the new standing."""

    async def suspend() -> None:
        request = SetLabStandingRequest(name=LAB_NAME, standing=lab_pb2.LAB_STANDING_SUSPENDED, reason="red light")
        request.effective_time.CopyFrom(to_timestamp(NOW - 400 * DAY))
        await node.labs.SetLabStanding(request)

    before_next_commit(monkeypatch, suspend)
    assert [answer.accepted_count for answer in await node.upload([make_tube(0)], "first")] == [1]
    (answer,) = await node.upload([make_tube(0)], "again")
    assert [violation.reason for violation in answer.rejections[0].violations] == ["LAB_NOT_AUTHORIZED"]


async def test_a_known_batch_that_is_purged_before_its_commit_is_validated_again(
    node: ResultsNode, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removed result makes no duplicate. The upload goes on with the reports that are still accepted."""
    month = month_start(month_of(NOW))
    tubes = [make_tube(0, reported=month - HOUR), make_tube(1, reported=month + HOUR)]
    await node.upload(tubes, "first")

    async def remove() -> None:
        database = open_database(url)
        try:
            await asyncio.to_thread(purge, database, month, NOW)
        finally:
            database.close()

    before_next_commit(monkeypatch, remove)
    (answer,) = await node.upload(tubes, "again")
    assert (answer.accepted_count, answer.duplicate_count, answer.rejected_count) == (0, 1, 1)
    assert [violation.reason for violation in answer.rejections[0].violations] == ["BEFORE_HORIZON"]


async def test_a_purge_forgets_what_was_known(node: ResultsNode, url: str, validated: ValidatedTubes) -> None:
    """The tubes are validated again, and the batch is then known again. The old entries are deleted."""
    month = month_start(month_of(NOW))
    tubes = [make_tube(0, reported=month + HOUR)]
    await node.upload(tubes, "first")
    database = open_database(url)
    try:
        await asyncio.to_thread(purge, database, month, NOW)
        for upload_id, expected in (("second", 2), ("third", 2)):
            (answer,) = await node.upload(tubes, upload_id)
            assert (answer.duplicate_count, validated.count) == (1, expected)
        count = await database.read(lambda connection: len(connection.execute(select(known_batches)).all()))
        assert count == 1
    finally:
        database.close()
