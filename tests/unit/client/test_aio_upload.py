"""The upload session for asyncio against a service that is cut, overloaded or set back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from google.rpc import code_pb2, status_pb2
from hutong.results.v1.upload_pb2 import Tube
from hutong_client import Batch, HutongError, InvalidArgument, RetryPolicy, Unavailable, UploadLost, aio, reasons
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.client.fake_uploads import UNAVAILABLE, FakeUploads, at_batches, failure, serving
from tests.support.waiting import TIMEOUT_SECONDS

LAB = "labs/91220502MA000LAB8G"


async def batches(count: int, tubes: int = 2) -> AsyncIterator[Batch[int]]:
    for number in range(count):
        yield Batch([Tube(tube_code=f"T{number * tubes + index}") for index in range(tubes)], number)


async def upload(fake: FakeUploads, count: int = 10, *, validate_only: bool = False, window: int = 4) -> list[int]:
    """Send batches; the notes of those that were acknowledged."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    policy = RetryPolicy(timedelta(minutes=5), now=lambda: sum(waited))
    with serving(fake) as address:
        async with aio.connect(results=address) as node:
            session = aio.UploadSession(
                node.uploads, LAB, "u1", validate_only=validate_only, window=window, retry_policy=policy, sleep=sleep
            )
            return [sent.batch.note async for sent in session.send(batches(count))]


@given(commits=st.sets(st.integers(1, 14)), answers=st.sets(st.integers(1, 14)), window=st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_any_number_of_cuts_ends_in_the_same_state(commits: set[int], answers: set[int], window: int) -> None:
    """Each batch is acknowledged once and in order, and each tube is stored once."""
    fake = FakeUploads(before_commit=at_batches(UNAVAILABLE, *commits), before_answer=at_batches(UNAVAILABLE, *answers))
    assert asyncio.run(upload(fake, 6, window=window)) == list(range(6))
    assert fake.tubes == [f"T{number}" for number in range(12)]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(failure(code_pb2.INVALID_ARGUMENT, "BATCH_TOO_LARGE"), InvalidArgument), (UNAVAILABLE, Unavailable)],
)
async def test_failure_ends_what_cannot_be_repeated(status: status_pb2.Status, kind: type[HutongError]) -> None:
    """A dry run ends at every failure."""
    fake = FakeUploads(before_commit=at_batches(status, 3))
    with pytest.raises(kind):
        await upload(fake, validate_only=True)
    assert fake.streams == 1


async def test_status_that_ends_a_stream_while_it_is_written_is_kept() -> None:
    """GRPC overwrites it with "Internal error from Core" most times, because large batches wait to be written."""
    status = failure(code_pb2.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", retry_seconds=0.9)
    tubes = [Tube(tube_code="T" * 200)] * 1000
    with serving(FakeUploads(before_commit=lambda _: status)) as address:
        async with aio.connect(results=address) as node:
            for number in range(5):
                session = aio.UploadSession(node.uploads, LAB, f"u{number}", validate_only=True, window=40)
                with pytest.raises(reasons.QuotaExceeded) as caught:
                    async for _ in session.send(Batch(tubes, None) for _ in range(40)):
                        pass
                assert caught.value.retry_delay == timedelta(seconds=0.9)


async def test_service_that_lost_what_it_acknowledged_is_found_out() -> None:
    """A restored database must not silently end up with half of the upload."""
    fake = FakeUploads()

    def lose(number: int) -> status_pb2.Status | None:
        if number != 5:
            return None
        del fake.tubes[2:]
        return UNAVAILABLE

    fake.before_commit = lose
    with pytest.raises(UploadLost):
        await upload(fake, window=1)


async def test_failure_after_the_last_acknowledgement_changes_nothing() -> None:
    """Everything is stored, so nothing is sent again."""
    fake = FakeUploads(at_end=UNAVAILABLE)
    assert await upload(fake) == list(range(10))
    assert fake.streams == 1


async def test_acknowledgement_does_not_wait_for_the_source() -> None:
    """The source gives its second batch only after the caller has the first acknowledgement."""
    acknowledged = asyncio.Event()

    async def source() -> AsyncIterator[Batch[int]]:
        async for batch in batches(2):
            yield batch
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await acknowledged.wait()

    with serving(FakeUploads()) as address:
        async with aio.connect(results=address) as node:
            async for _ in aio.UploadSession(node.uploads, LAB, "u1").send(source()):
                acknowledged.set()


async def test_source_that_fails_raises_its_own_error() -> None:
    """The error is not gRPC's error about an iterator. A synchronous source is accepted too."""
    with serving(FakeUploads()) as address:
        async with aio.connect(results=address) as node:
            with pytest.raises(ZeroDivisionError):
                async for _ in aio.UploadSession(node.uploads, LAB, "u1").send(failing()):
                    pass
            session = aio.UploadSession(node.uploads, LAB, "u2")
            assert [sent.batch.note async for sent in session.send([Batch([Tube(tube_code="T0")], 7)])] == [7]


async def failing() -> AsyncIterator[Batch[int]]:
    """Give two batches and fail."""
    async for batch in batches(2):
        yield batch
    raise ZeroDivisionError
