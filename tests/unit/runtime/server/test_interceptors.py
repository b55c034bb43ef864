"""Layers by themselves, where a real server could not be brought into the state that matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.domain.errors import DeadlineExceeded, ResourceExhausted
from services.runtime.call import Call, current_call, only_waiting, seconds_left
from services.runtime.server.interceptors.admission import Admission
from services.runtime.server.interceptors.deadline import Deadline
from services.runtime.server.interceptors.method import Method, UnaryHandler
from services.runtime.server.interceptors.request_id import RequestId
from tests.support.waiting import turns

UNARY = Method("/lab.Lab/Get", request_streaming=False, response_streaming=False)
STREAM = Method("/lab.Lab/Watch", request_streaming=False, response_streaming=True)


class Caller:
    """The part of a call's context that the layers use."""

    def __init__(self, seconds: float | None = None, *metadata: tuple[str, str | bytes]) -> None:
        self._seconds = seconds
        self._metadata = metadata

    def time_remaining(self) -> float | None:
        """Return the time that the caller gave."""
        return self._seconds

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the metadata that the caller sent."""
        return self._metadata


async def left(_request: Any, _context: Any) -> float:
    """A handler that answers how long it may call others."""
    return seconds_left(at_most=1000.0)


@pytest.fixture(autouse=True)
def _call() -> None:
    current_call.set(Call("test"))


@pytest.mark.parametrize("given", [0.0, -1.0])
async def test_a_deadline_already_past_ends_the_call_before_it_begins(given: float) -> None:
    """DEADLINE_EXCEEDED with the method's name, and nothing is done."""

    async def never(_request: Any, _context: Any) -> None:
        raise AssertionError("was begun")

    with pytest.raises(DeadlineExceeded) as caught:
        await Deadline(30.0).around_unary(UNARY, never)(None, Caller(given))
    assert caught.value.reason == "DEADLINE"
    assert caught.value.metadata == {"method": UNARY.name}


@pytest.mark.parametrize(
    ("given", "least", "most"), [(None, 29.0, 30.0), (10.0, 9.8, 9.9), (1.0, 0.9, 0.95), (0.1, 0.05, 0.095)]
)
async def test_some_of_the_callers_time_is_kept_back(given: float | None, least: float, most: float) -> None:
    """A twentieth, at most a tenth of a second; without a deadline there is a default one."""
    assert least <= await Deadline(30.0).around_unary(UNARY, left)(None, Caller(given)) <= most


async def test_a_timeout_within_is_not_the_callers_deadline() -> None:
    """A call with time left does not fail with DEADLINE_EXCEEDED."""

    async def impatient(_request: Any, _context: Any) -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await Deadline(30.0).around_unary(UNARY, impatient)(None, Caller(10.0))


async def test_a_call_whose_time_ends_fails_alone() -> None:
    """The call is cancelled and ends with DEADLINE_EXCEEDED. The task that it ran in is not cancelled any more."""

    async def endless(_request: Any, _context: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded):
        await Deadline(0.001).around_unary(UNARY, endless)(None, Caller())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await turns()


async def test_a_call_that_its_caller_cancels_is_cancelled() -> None:
    """A cancellation from outside is not taken for a deadline, even if the time ends at the same moment."""
    begun = asyncio.Event()

    async def endless(_request: Any, _context: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def call(seconds: float) -> None:
        await Deadline(seconds).around_unary(UNARY, endless)(None, Caller())

    async def call_at_its_end() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(0.001, task.cancel)
        await call(0.001)

    task = asyncio.create_task(call(30.0))
    await begun.wait()
    task.cancel()
    for cancelled in (task, asyncio.create_task(call_at_its_end())):
        with pytest.raises(asyncio.CancelledError):
            await cancelled


@pytest.mark.parametrize(("given", "least", "most"), [(None, 1000.0, 1000.0), (10.0, 9.0, 10.0)])
async def test_a_stream_is_left_to_its_callers_deadline(given: float | None, least: float, most: float) -> None:
    """Calls that the stream makes get the time that it has left. A stream without a deadline may last for days."""

    async def stream(_request: Any, _context: Any) -> AsyncIterator[float]:
        yield seconds_left(at_most=1000.0)

    assert [
        least <= seconds <= most async for seconds in Deadline(30.0).around_stream(STREAM, stream)(None, Caller(given))
    ]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("gate-7.A_b", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ('a"b', False),
        ("a b", False),
        ("41010518600101001X", False),
    ],
)
async def test_a_sane_request_id_is_kept(sent: str, kept: bool) -> None:
    """Any other is replaced, so that callers cannot write arbitrary text into the log."""

    async def answer(_request: Any, _context: Any) -> str:
        call = current_call.get()
        assert call is not None
        return call.request_id

    got = await RequestId().around_unary(UNARY, answer)(None, Caller(None, ("x-request-id", sent)))
    assert (got == sent) is kept
    assert len(got) == 36 or kept


async def test_a_call_that_only_waits_leaves_its_place_to_others() -> None:
    """However many parts of it wait. A call that works keeps its place."""
    admission, release = Admission(1), asyncio.Event()

    async def wait_twice(_request: Any, _context: Any) -> None:
        with only_waiting(), only_waiting():
            await release.wait()

    async def work(_request: Any, _context: Any) -> None:
        await release.wait()

    async def begin(handler: UnaryHandler) -> None:
        current_call.set(Call("test"))
        await admission.around_unary(UNARY, handler)(None, Caller())

    waiting = asyncio.create_task(begin(wait_twice))
    await turns()
    working = asyncio.create_task(begin(work))
    await turns()
    with pytest.raises(ResourceExhausted) as refused:
        await begin(work)
    assert refused.value.reason == "OVERLOADED"
    release.set()
    await asyncio.gather(waiting, working)
    await begin(work)
    await admission.wait_until_idle()
