"""A client holds back calls that an overloaded service would refuse."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import grpc
import pytest
from hutong.results.v1.lab_service_pb2 import GetLabRequest, GetLabResponse
from hutong_client import HutongError, aio, connect, reasons
from hutong_client.throttle import SENT_FOR_EACH_ANSWER, Throttle
from hutong_texts import english

from services.domain.errors import ResourceExhausted
from services.domain.instant import SECOND
from tests.support.fake_service import answer, pretend
from tests.support.servers import serving, settings_for

LAB = GetLabRequest(name="labs/1")
CALLS = 200


class Service:
    """A service that answers some calls a second at most, a client that calls it, and their clock."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = 100.0
        self.throttle = Throttle(lambda: self.now, random.Random(1).random)

    def second_of(self, calls: int) -> tuple[int, int]:
        """Make calls for a second. Return how many were sent and answered."""
        sent = answered = 0
        for index in range(calls):
            self.now += 1 / calls
            if self.throttle.holds():
                continue
            sent += 1
            # The places of a second become free one after the other.
            is_refused = answered >= self.most * (index + 1) / calls
            answered += not is_refused
            self.throttle.note(is_refused=is_refused)
        return sent, answered


@pytest.mark.parametrize("times", [2, 4, 10])
def test_little_more_is_sent_than_can_be_answered(times: int) -> None:
    """However much more is asked, the service is used nearly whole. At the end of the overload all calls are sent."""
    most = 100
    service = Service(most)
    assert service.second_of(most) == (most, most)
    service.second_of(times * most)
    seconds = [service.second_of(times * most) for _ in range(10)]
    sent, answered = (sum(column) / len(seconds) for column in zip(*seconds, strict=True))
    assert sent <= 1.2 * SENT_FOR_EACH_ANSWER * answered
    assert answered >= 0.9 * most
    for _ in range(10):
        service.second_of(most)
    assert service.second_of(most) == (most, most)


def test_a_client_that_was_refused_everything_notices_the_end() -> None:
    service = Service(0)
    for _ in range(10):
        sent, _ = service.second_of(20)
    assert sent <= 6
    service.most = 100
    for _ in range(12):
        service.second_of(20)
    assert service.second_of(20) == (20, 20)


class Overloaded:
    """A GetLab that refuses calls while it is told so, and counts them."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.count = 0

    async def __call__(self, request: GetLabRequest) -> GetLabResponse:
        """Refuse or answer."""
        self.count += 1
        if self.reason:
            raise ResourceExhausted(self.reason, english("not now"), retry_after=SECOND)
        return await answer(request)


@pytest.mark.parametrize("reason", ["OVERLOADED", "BUDGET_EXCEEDED"])
async def test_an_overloaded_service_gets_few_of_the_calls(tmp_path: Path, reason: str) -> None:
    """The others end with the same error, each with its own id. A caller without budget is no overload."""
    labs = Overloaded(reason)
    async with serving(pretend(labs), settings_for(tmp_path)) as address:
        errors: list[HutongError] = []
        async with aio.connect(results=address, environment={}) as node:
            for _ in range(CALLS):
                with pytest.raises(HutongError) as refused:
                    await node.labs.GetLab(LAB)
                errors.append(refused.value)
        by_asyncio = labs.count

        def call_all() -> None:
            with connect(results=address, environment={}) as node:
                for _ in range(CALLS):
                    with pytest.raises(HutongError) as refused:
                        node.labs.GetLab(LAB)
                    errors.append(refused.value)

        await asyncio.to_thread(call_all)
    assert {(error.reason, error.retry_delay is not None) for error in errors} == {(reason, True)}
    assert len({error.request_id for error in errors}) == 2 * CALLS
    if reason == "OVERLOADED":
        assert {isinstance(error, reasons.Overloaded) for error in errors} == {True}
        assert max(by_asyncio, labs.count - by_asyncio) < CALLS / 2
    else:
        assert labs.count == 2 * CALLS


async def test_a_held_call_of_asyncio_has_all_that_a_call_has(tmp_path: Path) -> None:
    """The call has ended with the error. Each of its methods works, although no call was sent."""
    labs = Overloaded("OVERLOADED")
    async with (
        serving(pretend(labs), settings_for(tmp_path)) as address,
        aio.connect(results=address, environment={}) as node,
    ):
        for _ in range(CALLS):
            call: Any = node.labs.GetLab(LAB)
            is_held = call.done()
            with pytest.raises(HutongError) as refused:
                await call
            if is_held:
                break
        assert is_held
        told = [call.code(), call.details(), call.initial_metadata(), call.trailing_metadata()]
        code, details, initial, trailing = await asyncio.gather(*told)
        assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, refused.value.message)
        assert (len(initial), trailing["x-request-id"]) == (0, refused.value.request_id)
        assert (call.cancel(), call.cancelled(), call.time_remaining()) == (False, False, None)
        ended: list[Any] = []
        call.add_done_callback(ended.append)
        assert ended == [call]
        with pytest.raises(HutongError):
            await call.wait_for_connection()
    public = [name for name in dir(grpc.aio.UnaryUnaryCall) if not name.startswith("_")]
    assert not [name for name in public if getattr(call, name, None) is None]


async def test_an_answer_that_is_read_again_counts_once(tmp_path: Path) -> None:
    """After a thousand reads of one answer, the client holds back over half of its calls to an overloaded service.

    If each read counted as an answer, an overload would not hold calls back. Both kinds of client are tested.
    """
    labs = Overloaded("")
    async with serving(pretend(labs), settings_for(tmp_path)) as address:
        async with aio.connect(results=address, environment={}) as node:
            answered = node.labs.GetLab(LAB)
            for _ in range(1_000):
                assert (await answered).lab.name == LAB.name
            labs.reason = "OVERLOADED"
            for _ in range(CALLS):
                with pytest.raises(HutongError):
                    await node.labs.GetLab(LAB)
        by_asyncio, labs.count, labs.reason = labs.count, 0, ""

        def call_all() -> None:
            with connect(results=address, environment={}) as node:
                answered = node.labs.GetLab.future(LAB)
                for _ in range(1_000):
                    assert answered.result().lab.name == LAB.name
                labs.reason = "OVERLOADED"
                for _ in range(CALLS):
                    with pytest.raises(HutongError):
                        node.labs.GetLab(LAB)

        await asyncio.to_thread(call_all)
    assert max(by_asyncio, labs.count) < CALLS / 2
