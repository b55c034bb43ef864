"""Watches that are cut, silent, refused or out of date, with the synchronous and the asyncio client."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import islice

import grpc
import pytest
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status
from hutong.results.v1 import result_pb2
from hutong.results.v1.results_service_pb2 import WatchResultsRequest, WatchResultsResponse
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceServicer, add_ResultsServiceServicer_to_server
from hutong_client import OutOfRange, ResourceExhausted, RetryPolicy, aio, connect, watch

from tests.support.client.fake_server import serving_fake
from tests.support.client.fake_uploads import UNAVAILABLE, failure
from tests.support.waiting import TIMEOUT_SECONDS

CUT = status_pb2.Status(code=code_pb2.UNKNOWN)
QUICK = RetryPolicy(timedelta(minutes=5), lambda _: None)
SILENCE = 0.3
"""Short, so that the test is fast. On a busy machine, a stream that is not silent may pause as long."""


@dataclass
class FakeWatch(ResultsServiceServicer):
    """Sends changes with the cursors 1, 2, 3 and so on.

    Attributes:
        breaks: for the number of a stream, beginning with 1: after how many messages it breaks, and with which status.
            Without a status the stream stays silent.
    """

    breaks: dict[int, tuple[int, status_pb2.Status | None]] = field(default_factory=dict)
    cursors: list[str] = field(default_factory=list)

    def WatchResults(
        self, request: WatchResultsRequest, context: grpc.ServicerContext
    ) -> Iterator[WatchResultsResponse]:
        self.cursors.append(request.cursor)
        count, status = self.breaks.get(len(self.cursors), (1_000, CUT))
        first = int(request.cursor or 0) + 1
        for number in range(first, first + count):
            yield WatchResultsResponse(change=result_pb2.TestResult(name=f"{number}"), cursor=f"{number}")
        if status is not None:
            context.abort_with_status(rpc_status.to_status(status))
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait()


@pytest.fixture
def fake() -> FakeWatch:
    return FakeWatch()


@pytest.fixture
def address(fake: FakeWatch) -> Iterator[str]:
    with serving_fake(partial(add_ResultsServiceServicer_to_server, fake)) as address:
        yield address


async def read(address: str, count: int, *, asynchronous: bool, silence_seconds: float = TIMEOUT_SECONDS) -> list[str]:
    """Return the names of the first changes, watched by one of the two clients."""
    request = WatchResultsRequest()
    if not asynchronous:
        with connect(results=address) as node:
            messages = watch(node.results.WatchResults, request, silence_seconds=silence_seconds, retry_policy=QUICK)
            return [message.change.name for message in islice(messages, count)]
    names = []
    async with aio.connect(results=address) as node:
        found = aio.watch(
            node.results.WatchResults, request, silence_seconds=silence_seconds, retry_policy=QUICK, sleep=_no_sleep
        )
        async for message in found:
            names.append(message.change.name)
            if len(names) == count:
                break
        assert isinstance(found, AsyncIterator)
    return names


async def _no_sleep(_: float) -> None:
    """Wait for nothing."""


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("status", [UNAVAILABLE, CUT], ids=["unavailable", "cut"])
async def test_broken_watch_goes_on_after_the_last_message(
    status: status_pb2.Status, asynchronous: bool, fake: FakeWatch, address: str
) -> None:
    """No message is missed and none comes twice."""
    fake.breaks = {1: (3, status), 2: (0, status), 3: (2, status)}
    names = await read(address, 8, asynchronous=asynchronous)
    assert names == [str(number) for number in range(1, 9)]
    assert fake.cursors == ["", "3", "3", "5"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_silent_watch_goes_on_after_the_last_message(asynchronous: bool, fake: FakeWatch, address: str) -> None:
    """A silent stream counts as broken. The next one begins after the last message that came."""
    fake.breaks = {1: (3, None), 2: (0, None), 3: (2, None)}
    names = await read(address, 8, asynchronous=asynchronous, silence_seconds=SILENCE)
    assert names == [str(number) for number in range(1, 9)]
    assert len(fake.cursors) > 3
    assert fake.cursors == sorted(fake.cursors)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_cursor_that_is_too_old_is_raised(asynchronous: bool, fake: FakeWatch, address: str) -> None:
    """The caller reads everything anew, because changes after the cursor are gone."""
    fake.breaks = {1: (1, UNAVAILABLE), 2: (0, failure(code_pb2.OUT_OF_RANGE, "CURSOR_TOO_OLD"))}
    with pytest.raises(OutOfRange) as raised:
        await read(address, 2, asynchronous=asynchronous)
    assert raised.value.reason == "CURSOR_TOO_OLD"


def test_watch_gives_up_by_its_policy(fake: FakeWatch, address: str) -> None:
    """The watch ends after the policy's time without a message, with the last failure."""
    fake.breaks = dict.fromkeys(range(1, 100), (0, failure(code_pb2.RESOURCE_EXHAUSTED, "OVERLOADED")))
    waited: list[float] = []
    policy = RetryPolicy(timedelta(seconds=30), waited.append, lambda: sum(waited))
    with connect(results=address) as node, pytest.raises(ResourceExhausted):
        next(watch(node.results.WatchResults, WatchResultsRequest(), retry_policy=policy))
    assert sum(waited) > 30
