"""The upload session against a service that is cut, overloaded, set back, or wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from google.rpc import code_pb2, status_pb2
from hutong.results.v1.upload_pb2 import Tube
from hutong_client import (
    Batch,
    HutongError,
    InvalidArgument,
    OutOfRange,
    ResourceExhausted,
    RetryPolicy,
    Totals,
    Unavailable,
    UploadLost,
    UploadSession,
    connect,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.client.fake_uploads import UNAVAILABLE, FakeUploads, at_batches, failure, serving
from tests.support.waiting import TIMEOUT_SECONDS, wait_until

LAB = "labs/91220502MA000LAB8G"


@dataclass
class Waits:
    """A clock that only waiting moves."""

    waited: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)

    @property
    def retry_policy(self) -> RetryPolicy:
        return RetryPolicy(timedelta(minutes=5), self.sleep, lambda: sum(self.waited))


def batches(count: int, tubes: int = 2) -> Iterator[Batch[int]]:
    for number in range(count):
        yield Batch([Tube(tube_code=f"T{number * tubes + index}") for index in range(tubes)], number)


def upload(fake: FakeUploads, waits: Waits, count: int = 10, **options: object) -> list[int]:
    """Send batches; the notes of those that were acknowledged."""
    with serving(fake) as address, connect(results=address) as node:
        session = UploadSession(node.uploads, LAB, "u1", retry_policy=waits.retry_policy, **options)  # type: ignore[arg-type]
        return [sent.batch.note for sent in session.send(batches(count))]


def test_every_batch_is_acknowledged_once_and_in_order() -> None:
    """If nothing fails, one stream is enough."""
    fake = FakeUploads()
    assert upload(fake, Waits()) == list(range(10))
    assert fake.tubes == [f"T{number}" for number in range(20)]
    assert fake.streams == 1


def test_totals_count_what_was_yielded() -> None:
    """Persons and tubes of this session; `get` has those of the whole upload."""
    tubes = [Tube(tube_code=code) for code in ("T0", "REJECTED", "T2")]
    with serving(FakeUploads()) as address, connect(results=address) as node:
        session = UploadSession(node.uploads, LAB, "u1")
        sending = session.send([Batch(tubes, None), Batch(tubes[:1], None)])
        assert session.totals() == Totals()
        next(sending)
        assert session.totals() == Totals(tubes=3, accepted=2, rejected=1)
        assert len(list(sending)) == 1
        assert session.totals() == Totals(tubes=4, accepted=3, rejected=1)
        again = UploadSession(node.uploads, LAB, "u1")
        assert len(list(again.send([Batch(tubes, None)]))) == 1
        assert again.totals() == Totals(tubes=3, duplicates=2, rejected=1)


@pytest.mark.parametrize("when", ["before_commit", "before_answer"])
@pytest.mark.parametrize("number", [1, 2, 5, 10])
def test_cut_stream_is_taken_up_again(when: str, number: int) -> None:
    """Whether the batch was committed or not: it is there once and acknowledged once."""
    fake = FakeUploads()
    setattr(fake, when, at_batches(UNAVAILABLE, number))
    waits = Waits()
    assert upload(fake, waits) == list(range(10))
    assert fake.tubes == [f"T{tube}" for tube in range(20)]
    assert fake.streams == 2
    assert len(waits.waited) == 1


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(1, 40), max_size=12), st.sets(st.integers(1, 40), max_size=12), st.integers(1, 6))
def test_any_number_of_cuts_ends_in_the_same_state(commits: set[int], answers: set[int], window: int) -> None:
    """However often and wherever the stream is cut."""
    fake = FakeUploads(at_batches(UNAVAILABLE, *commits), at_batches(UNAVAILABLE, *answers))
    assert upload(fake, Waits(), window=window) == list(range(10))
    assert fake.tubes == [f"T{tube}" for tube in range(20)]


def test_replayed_batch_brings_its_rejections_again() -> None:
    """A commit whose answer was lost is not a batch whose rejections are lost."""
    fake = FakeUploads(before_answer=at_batches(UNAVAILABLE, 1))
    with serving(fake) as address, connect(results=address) as node:
        session = UploadSession(node.uploads, LAB, "u1", retry_policy=Waits().retry_policy)
        (sent,) = session.send([Batch([Tube(tube_code="REJECT 1"), Tube(tube_code="T2")], None)])
    assert [rejection.tube_index for rejection in sent.response.rejections] == [0]
    assert fake.batches == 2


def test_service_that_asks_for_time_gets_it() -> None:
    """RESOURCE_EXHAUSTED with RetryInfo: no try before the stated delay."""
    busy = failure(code_pb2.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", retry_seconds=0.9)
    waits = Waits()
    assert upload(FakeUploads(before_commit=at_batches(busy, 3)), waits) == list(range(10))
    assert len(waits.waited) == 1
    assert 0.9 <= waits.waited[0] < 1.2


def test_waits_grow_and_start_anew_after_progress() -> None:
    """0.2 s doubled with each failure in a row, up to ten seconds."""
    waits = Waits()
    fake = FakeUploads(before_commit=at_batches(UNAVAILABLE, 1, 2, 3, 10))
    upload(fake, waits, window=1)
    assert [int(wait / 0.2) for wait in waits.waited] == [1, 2, 4, 1]


def test_retries_end() -> None:
    """A service that never comes back: the last failure is raised, after the stated time."""
    waits = Waits()
    fake = FakeUploads(before_commit=lambda _: UNAVAILABLE)
    with pytest.raises(Unavailable) as caught:
        upload(fake, waits)
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    assert 300 <= sum(waits.waited) < 320


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (failure(code_pb2.INVALID_ARGUMENT, "BATCH_TOO_LARGE"), InvalidArgument),
        (failure(code_pb2.OUT_OF_RANGE, "UPLOAD_GAP"), OutOfRange),
        (failure(code_pb2.INTERNAL, "INTERNAL"), HutongError),
        (status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="message larger than max"), ResourceExhausted),
    ],
)
def test_failure_that_no_retry_mends_is_raised_at_once(status: status_pb2.Status, kind: type[HutongError]) -> None:
    """A fault of the upload itself would not go away with a retry."""
    fake, waits = FakeUploads(before_commit=at_batches(status, 3)), Waits()
    with pytest.raises(kind):
        upload(fake, waits)
    assert fake.streams == 1
    assert waits.waited == []


def test_trial_fails_at_the_first_break() -> None:
    """With validate_only the service keeps nothing from which it could be resumed."""
    fake = FakeUploads(before_commit=at_batches(UNAVAILABLE, 3))
    with pytest.raises(Unavailable):
        upload(fake, Waits(), validate_only=True)
    assert fake.streams == 1


def test_service_that_lost_what_it_acknowledged_is_found_out() -> None:
    """A database that was set back must not silently end up with half of the upload."""
    fake = FakeUploads()

    def lose(number: int) -> status_pb2.Status | None:
        if number != 5:
            return None
        del fake.tubes[2:]
        return UNAVAILABLE

    fake.before_commit = lose
    with pytest.raises(UploadLost):
        upload(fake, Waits(), window=1)


def test_only_the_window_is_kept_in_memory() -> None:
    """The source is asked for the next batch only when there is room: memory stays flat."""
    taken = 0

    def source() -> Iterator[Batch[int]]:
        nonlocal taken
        for batch in batches(50):
            taken += 1
            yield batch

    with serving(FakeUploads()) as address, connect(results=address) as node:
        for sent in UploadSession(node.uploads, LAB, "u1", window=3).send(source()):
            assert taken <= sent.batch.note + 3


def test_failure_after_the_last_acknowledgement_changes_nothing() -> None:
    """Everything is stored, so nothing is sent again."""
    fake = FakeUploads(at_end=UNAVAILABLE)
    waits = Waits()
    assert upload(fake, waits) == list(range(10))
    assert (fake.streams, waits.waited) == (1, [])


def test_acknowledgement_does_not_wait_for_the_source() -> None:
    """The source gives its second batch only after the caller has the first acknowledgement."""
    acknowledged = threading.Event()

    def source() -> Iterator[Batch[int]]:
        first, second = batches(2)
        yield first
        assert acknowledged.wait(TIMEOUT_SECONDS)
        yield second

    notes = []
    with serving(FakeUploads()) as address, connect(results=address) as node:
        for sent in UploadSession(node.uploads, LAB, "u1").send(source()):
            notes.append(sent.batch.note)
            acknowledged.set()
    assert notes == [0, 1]


def test_abandoned_upload_asks_its_source_for_no_more() -> None:
    """The thread that reads the source ends with the upload."""
    with serving(FakeUploads()) as address, connect(results=address) as node:
        sending = UploadSession(node.uploads, LAB, "abandoned").send(batches(1_000))
        next(sending)
        sending.close()
        wait_until(lambda: all(thread.name != "hutong-upload" for thread in threading.enumerate()))


def test_source_that_fails_raises_its_own_error() -> None:
    """The error is not gRPC's error about an iterator."""

    def source() -> Iterator[Batch[int]]:
        yield from batches(2)
        raise ZeroDivisionError

    with serving(FakeUploads()) as address, connect(results=address) as node, pytest.raises(ZeroDivisionError):
        list(UploadSession(node.uploads, LAB, "u1").send(source()))
