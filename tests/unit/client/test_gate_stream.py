"""The answers of a gate's stream: each once and in order, through every break of the service."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hutong.type.v1.identity_pb2 import IdentityDocument
from hutong.verification.v1.decision_pb2 import Decision
from hutong.verification.v1.verification_service_pb2 import StreamVerifyRequest, StreamVerifyResponse, VerifyRequest
from hutong_client import aio
from hutong_client.cli.people import Asked
from hutong_client.errors import HutongError, PermissionDenied, Unavailable
from hutong_client.gate_stream import GateStream, stream_answers
from hutong_client.retry import RetryPolicy

from tests.support.waiting import TIMEOUT_SECONDS, wait_until

Plan = Callable[[Iterator[StreamVerifyRequest]], Iterable[StreamVerifyResponse]]
AT_ONCE = RetryPolicy(most_seconds=0.0)


def question(row: int, fault: str = "") -> Asked:
    return Asked(row, str(row), VerifyRequest(document=IdentityDocument(number=f"N{row}")), fault)


def answer(asked: StreamVerifyRequest) -> StreamVerifyResponse:
    return StreamVerifyResponse(
        correlation_id=asked.correlation_id, decision=Decision(name=asked.request.document.number)
    )


class Service:
    """Serves each stream by the next plan, and the streams after the plans in full. It keeps what was asked."""

    def __init__(self, *plans: Plan) -> None:
        self._plans = [*plans]
        self.asked: list[list[StreamVerifyRequest]] = []

    def __call__(self, requests: Iterator[StreamVerifyRequest]) -> Iterator[StreamVerifyResponse]:
        seen: list[StreamVerifyRequest] = []
        self.asked.append(seen)
        plan = self._plans.pop(0) if self._plans else answer_all

        def noted() -> Iterator[StreamVerifyRequest]:
            for request in requests:
                seen.append(request)
                yield request

        yield from plan(noted())


def answer_all(requests: Iterator[StreamVerifyRequest]) -> Iterator[StreamVerifyResponse]:
    return map(answer, requests)


def fail_after(count: int, error: HutongError) -> Plan:
    """Answer some questions and fail while the next one is unanswered."""

    def plan(requests: Iterator[StreamVerifyRequest]) -> Iterator[StreamVerifyResponse]:
        for number, asked in enumerate(requests):
            if number == count:
                raise error
            yield answer(asked)

    return plan


def run(
    service: Service, questions: Iterable[Asked], retry_policy: RetryPolicy = AT_ONCE
) -> tuple[list[tuple[int, str]], list[int]]:
    """Return the row and the answer of each question, and how many waited at each break."""
    waiting: list[int] = []
    stream = GateStream(
        service, iter(questions), on_break=lambda _, count: waiting.append(count), retry_policy=retry_policy
    )
    told = []
    for asked, item in stream.answers():
        text = asked.fault if item is None else item.decision.name or f"error {item.error.code}"
        told.append((asked.row, text))
    return told, waiting


def test_broken_streams_lose_and_double_nothing() -> None:
    """Three breaks among 1,000 questions. Only unanswered questions are asked again, with their ids."""
    away = Unavailable("restarting")
    service = Service(fail_after(300, away), fail_after(1, away), fail_after(400, away))
    told, waiting = run(service, map(question, range(1, 1_001)))
    assert told == [(row, f"N{row}") for row in range(1, 1_001)]
    assert len(waiting) == 3
    assert all(count >= 1 for count in waiting)
    first, second = service.asked[0][300], service.asked[1][0]
    assert (first.correlation_id, first.request) == (second.correlation_id, second.request)
    ids = {request.correlation_id for stream in service.asked for request in stream}
    assert len(ids) == 1_000


def asynchronous(service: Service) -> Callable[[AsyncIterable[StreamVerifyRequest]], Any]:
    """Return the service as a method of asyncio. Every question of a stream is read before its first answer."""

    class Call:
        def __init__(self, requests: AsyncIterable[StreamVerifyRequest]) -> None:
            self._requests = requests

        async def __aiter__(self) -> AsyncIterator[StreamVerifyResponse]:
            seen = [request async for request in self._requests]
            for response in service(iter(seen)):
                yield response

        def cancel(self) -> None:
            """Do nothing."""

    return Call


def test_stream_answers_goes_on_after_breaks() -> None:
    """Questions may be plain requests. Answers come in their order."""
    service = Service(fail_after(3, Unavailable("restarting")))
    requests = [question(row).request for row in range(1, 9)]
    told = [(asked, item.decision.name) for asked, item in stream_answers(service, requests, retry_policy=AT_ONCE)]
    assert told == [(request, request.document.number) for request in requests]


async def test_stream_answers_of_asyncio_goes_on_after_breaks() -> None:
    """The first stream fails after two answers. The second answers in another order and ends early without an error."""

    def backwards(requests: Iterator[StreamVerifyRequest]) -> Iterator[StreamVerifyResponse]:
        for asked in list(reversed(list(requests)))[:4]:
            yield answer(asked)

    service = Service(fail_after(2, Unavailable("restarting")), backwards)
    requests = [question(row).request for row in range(1, 10)]
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    answers = aio.stream_answers(asynchronous(service), requests, retry_policy=AT_ONCE, sleep=sleep)
    told = [(asked, item.decision.name) async for asked, item in answers]
    assert told == [(request, request.document.number) for request in requests]
    assert len(waited) == 2
    asked = [request.correlation_id for stream in service.asked for request in stream]
    assert len(set(asked)) == 9
    assert len(service.asked) == 3


async def test_stream_answers_of_asyncio_ends_with_what_cannot_be_cured() -> None:
    """A refusal is raised; so are a service that never answered, and an error of the source."""
    requests = [question(row).request for row in range(1, 4)]
    for first, kind in (
        (fail_after(1, PermissionDenied("no")), PermissionDenied),
        (fail_after(0, Unavailable("away")), Unavailable),
    ):
        with pytest.raises(kind):
            async for _ in aio.stream_answers(asynchronous(Service(first)), requests):
                pass

    async def broken() -> AsyncIterator[VerifyRequest]:
        yield requests[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async for _ in aio.stream_answers(asynchronous(Service()), broken()):
            pass


async def test_questions_of_asyncio_are_answered_with_the_failure_in_the_end() -> None:
    """Once the retry policy gives up, none waits for ever. Later ones are asked again."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    away = Unavailable("away")
    service = Service(fail_after(1, away), *[fail_after(0, away)] * 12)
    policy = RetryPolicy(timedelta(seconds=1), now=lambda: sum(waited))
    requests = [question(row).request for row in range(1, 4)]
    answers = aio.stream_answers(asynchronous(service), requests, retry_policy=policy, sleep=sleep)
    told = [item.decision.name or item.error.code async for _, item in answers]
    assert told == ["N1", 14, 14]


def test_answers_come_in_the_order_of_the_questions() -> None:
    """The service answers in another order. A faulty line has its place and is not asked."""

    def backwards(requests: Iterator[StreamVerifyRequest]) -> Iterator[StreamVerifyResponse]:
        return map(answer, reversed(list(requests)))

    service = Service(backwards)
    told, _ = run(service, [question(1), question(2, "bad"), question(3)])
    assert told == [(1, "N1"), (2, "bad"), (3, "N3")]
    assert len(service.asked[0]) == 2


def test_stream_that_ends_early_is_opened_again() -> None:
    """A service that drains may end a stream without an error."""

    def first_only(requests: Iterator[StreamVerifyRequest]) -> Iterator[StreamVerifyResponse]:
        yield answer(next(requests))

    assert run(Service(first_only), map(question, range(1, 6)))[0] == [(row, f"N{row}") for row in range(1, 6)]


def test_stream_that_ends_while_nobody_waits_is_no_break() -> None:
    """The service ends a stream after an hour, for example. The next question opens a new stream."""
    ended = threading.Event()

    def one(requests: Iterator[StreamVerifyRequest]) -> Iterator[StreamVerifyResponse]:
        yield answer(next(requests))
        ended.set()
        raise Unavailable("the connection is an hour old")

    def slowly() -> Iterator[Asked]:
        yield question(1)
        assert ended.wait(TIMEOUT_SECONDS)
        yield question(2)

    told, _ = run(Service(one), slowly())
    assert told == [(1, "N1"), (2, "N2")]


def test_break_is_reported_before_the_next_stream_is_opened() -> None:
    """The stream breaks while the caller still uses an earlier answer."""
    breaks: list[int] = []
    reported: list[int] = []
    is_used = threading.Event()

    def broken(requests: Iterator[StreamVerifyRequest]) -> Iterator[StreamVerifyResponse]:
        yield answer(next(requests))
        next(requests)
        assert is_used.wait(TIMEOUT_SECONDS)
        raise Unavailable("restarting")

    def late(requests: Iterator[StreamVerifyRequest]) -> Iterator[StreamVerifyResponse]:
        reported.append(len(breaks))
        return map(answer, requests)

    service = Service(broken, late)
    stream = GateStream(
        service, map(question, (1, 2)), on_break=lambda _, count: breaks.append(count), retry_policy=AT_ONCE
    )
    answers = stream.answers()
    assert next(answers)[0].row == 1
    is_used.set()
    wait_until(lambda: not any(thread.name == "hutong-gate-answers" for thread in threading.enumerate()))
    assert [asked.row for asked, _ in answers] == [2]
    assert (breaks, reported) == ([1], [1])


def test_after_the_limit_people_get_an_answer() -> None:
    """The system is at fault: the waiting ones are told to ask again, and the gate goes on when the service is back."""
    away = Unavailable("away")
    service = Service(fail_after(1, away), fail_after(0, away))
    impatient = RetryPolicy(timedelta(seconds=-1), most_seconds=0.0)
    asked_again = threading.Event()

    def people() -> Iterator[Asked]:
        yield from map(question, (1, 2))
        assert asked_again.wait(TIMEOUT_SECONDS)
        yield question(3)

    stream = GateStream(service, people(), on_break=lambda _, __: None, retry_policy=impatient)
    told = []
    for asked, item in stream.answers():
        assert item is not None
        told.append((asked.row, item.decision.name or f"error {item.error.code}"))
        if asked.row == 2:
            asked_again.set()
    assert told[:2] == [(1, "N1"), (2, "error 14")]
    assert told[2][0] == 3


@pytest.mark.parametrize(
    "plan",
    [fail_after(0, Unavailable("no such address")), fail_after(2, PermissionDenied("another region"))],
    ids=["never reached", "not allowed"],
)
def test_failure_that_no_retry_cures_is_raised(plan: Plan) -> None:
    """The error names the lines without an answer."""
    stream = GateStream(Service(plan), map(question, range(1, 5)), on_break=lambda _, __: None, retry_policy=AT_ONCE)
    told: list[int] = []
    with pytest.raises(HutongError):
        told.extend(asked.row for asked, _ in stream.answers())
    assert told == list(range(1, len(told) + 1))
    assert stream.unanswered[0].row == len(told) + 1
