"""The client for look-ups at the nation: shared calls, a limit on each wait, and no call that no caller awaits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from hutong.exchange.v1.exchange_service_pb2 import (
    LookupSubjectsRequest,
    LookupSubjectsResponse,
    SubjectResults,
    SubscribeSubjectsRequest,
    SubscribeSubjectsResponse,
)
from hutong.exchange.v1.exchange_service_pb2_grpc import (
    ExchangeServiceServicer,
    ExchangeServiceStub,
    add_ExchangeServiceServicer_to_server,
)
from hutong.results.v1.lookup_pb2 import SOURCE_STATE_OK

from services.domain.errors import Unavailable
from services.results.exchange.upstream.nation_client import (
    CALLS_AT_ONCE,
    MAX_BATCH,
    OPEN_SECONDS,
    NationClient,
)
from services.results.exchange.upstream.subscription_client import SubscriptionClient
from services.results.lookup.model import SubjectAnswer, SubjectQuestion
from services.results.timing import ResultsTiming
from services.runtime.call import Call, current_call
from services.runtime.client.channels import open_channel as open_apart
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.configuration.settings import Settings
from tests.support.results.country import HENAN
from tests.support.servers import bare_channel, bare_server
from tests.support.waiting import TIMEOUT_SECONDS, turns, until

POISON = b"poison".ljust(16)
MINUTES = 600.0
"""The time of a source that no answer exceeds."""
UNMET = "a token that is not met"


class Nation(ExchangeServiceServicer):
    """Answers, while its gate is open, without results. Records the subjects of each call."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.answers_nothing = False

    async def LookupSubjects(self, request: LookupSubjectsRequest, context: Any) -> LookupSubjectsResponse:
        self.calls.append(list(request.subject_keys))
        await self.open.wait()
        if UNMET in request.at_least_as_fresh:
            status = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="not fresh")
            info = error_details_pb2.ErrorInfo(reason="NOT_FRESH_ENOUGH", metadata={"node": "nodes/220000"})
            status.details.add().Pack(info)
            await context.abort_with_status(rpc_status.to_status(status))
        if POISON in request.subject_keys:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "poisoned")
        response = LookupSubjectsResponse()
        if not self.answers_nothing:
            response.sources.add(node="nodes/000000", state=SOURCE_STATE_OK)
            for key in request.subject_keys:
                response.subjects.add(subject_keys=[key])
        return response

    async def SubscribeSubjects(self, request: SubscribeSubjectsRequest, _context: Any) -> SubscribeSubjectsResponse:
        await self.open.wait()
        subjects = [SubjectResults(subject_keys=[key]) for key in request.subject_keys]
        return SubscribeSubjectsResponse(subjects=subjects)


@pytest.fixture
async def nation() -> Nation:
    return Nation()  # type: ignore[abstract]


@contextlib.asynccontextmanager
async def gateway_to(nation: Nation, source_seconds: float) -> AsyncIterator[NationClient]:
    """A client that waits half of these seconds for the nation."""
    async with bare_channel(add_ExchangeServiceServicer_to_server, nation) as channel:
        yield NationClient(ReconnectingStub(lambda: channel, ExchangeServiceStub), HENAN, source_seconds)


@pytest.fixture
async def gateway(nation: Nation) -> AsyncIterator[NationClient]:
    """A client for which no answer of a test is late."""
    async with gateway_to(nation, MINUTES) as gateway:
        yield gateway


def questions(count: int, *, token: str = "") -> list[SubjectQuestion]:
    """Return questions about this many subjects."""
    return [SubjectQuestion(str(person).encode().ljust(16), 3, token=token) for person in range(count)]


async def open_circuit(gateway: NationClient, nation: Nation) -> None:
    """Let the nation give one answer that cannot be read."""
    nation.answers_nothing = True
    assert await gateway.ask_each(questions(1)) == [None]
    nation.answers_nothing = False


async def assert_it_waits(gateway: NationClient, nation: Nation) -> None:
    """The nation is silent for longer than an open circuit breaker lets a question wait, and its answer is used."""
    nation.open.clear()
    asking = asyncio.ensure_future(gateway.ask_each(questions(1)))
    await asyncio.wait([asking], timeout=3 * OPEN_SECONDS)
    assert not asking.done()
    nation.open.set()
    assert (await asking)[0] is not None


async def test_questions_of_different_items_share_no_call(nation: Nation, gateway: NationClient) -> None:
    """The nation gets one call for each set of items, and no results of items that a question does not name.

    Answers keep the order of the questions.
    """
    items = [("",), ("", "sars-cov-2-antigen"), ("",), ("sars-cov-2-antigen",), ("", "sars-cov-2-antigen")]
    asked = [one._replace(items=named) for one, named in zip(questions(5), items, strict=True)]
    nation.open.clear()
    first = asyncio.ensure_future(gateway.ask_each(asked))
    await until(lambda: len(nation.calls) == 3)
    nation.open.set()
    assert [answer.subject_keys for answer in await first if isinstance(answer, SubjectAnswer)] == [
        [one.subject_key] for one in asked
    ]
    keys = [one.subject_key for one in asked]
    assert sorted(nation.calls) == sorted([[keys[0], keys[2]], [keys[1], keys[4]], [keys[3]]])


async def test_what_was_given_up_is_not_asked_any_more(nation: Nation, gateway: NationClient) -> None:
    """However many questions were asked while the nation was frozen, one asked after it works again is sent at once."""
    await open_circuit(gateway, nation)
    nation.calls.clear()
    nation.open.clear()
    for _ in range(3):
        answers = await gateway.ask_each(questions(4 * MAX_BATCH))
        assert answers == [None] * (4 * MAX_BATCH)
    nation.open.set()
    later = b"later".ljust(16)

    async def is_answered() -> bool:
        (answer,) = await gateway.ask_each([SubjectQuestion(later, 3)])
        return isinstance(answer, SubjectAnswer)

    # While the circuit breaker is open, an answer has little time, which a busy machine may not keep.
    await until(is_answered)
    assert nation.calls[-1] == [later]
    assert len([call for call in nation.calls if call != [later]]) <= CALLS_AT_ONCE


async def test_a_nation_that_does_not_answer_costs_its_time_once_and_then_little(nation: Nation) -> None:
    """A late answer closes the circuit breaker. While the breaker is open, a question waits only a short time."""
    nation.open.clear()
    async with gateway_to(nation, 0.2) as impatient:
        assert await impatient.ask_each(questions(1)) == [None]
    async with gateway_to(nation, MINUTES) as gateway:
        nation.open.set()
        await open_circuit(gateway, nation)
        nation.open.clear()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await gateway.ask_each(questions(1)) == [None]
        nation.open.set()

        async def is_answered() -> bool:
            return (await gateway.ask_each(questions(1)))[0] is not None

        await until(is_answered)
        await assert_it_waits(gateway, nation)


async def test_a_late_answer_to_a_node_in_the_middle_closes_the_circuit_breaker(
    nation: Nation, gateway: NationClient
) -> None:
    """The nation answers, but later than an open breaker waits. After a late answer, calls wait for it again."""
    await open_circuit(gateway, nation)

    async def is_waited_for() -> bool:
        nation.open.clear()
        asking = asyncio.ensure_future(gateway.relay(questions(1)))
        await asyncio.wait([asking], timeout=3 * OPEN_SECONDS)
        is_waiting = not asking.done()
        nation.open.set()
        return (await asking)[0] is not None and is_waiting

    await until(is_waited_for)


async def test_each_asker_waits_by_its_own_time(nation: Nation, gateway: NationClient) -> None:
    """A caller with a short deadline does not wait for the other questions of its call."""
    nation.open.clear()

    async def in_a_hurry() -> None:
        call = Call("test")
        call.deadline = asyncio.get_running_loop().time() + 0.2
        current_call.set(call)
        await gateway.ask_each(questions(1))

    patient = asyncio.create_task(gateway.ask_each(questions(1)))
    await asyncio.create_task(in_a_hurry())
    assert not patient.done()
    nation.open.set()
    assert (await patient)[0] is not None
    assert len(nation.calls) == 1


async def test_questions_with_one_token_share_a_call_apart_from_all_others(
    nation: Nation, gateway: NationClient
) -> None:
    asked = [*questions(20), *questions(20, token="met"), *questions(20, token=UNMET)]
    answers = await gateway.ask_each(asked)
    assert [type(answer) for answer in answers] == [SubjectAnswer] * 40 + [Unavailable] * 20
    assert isinstance(answers[-1], Unavailable)
    assert (answers[-1].reason, answers[-1].metadata) == ("NOT_FRESH_ENOUGH", {"node": "nodes/220000"})
    assert [len(call) for call in nation.calls] == [20, 20, 20]


async def test_a_subject_whose_look_up_fails_harms_no_other(nation: Nation, gateway: NationClient) -> None:
    """The circuit breaker stays closed too, because the nation answers."""
    asked = questions(100)
    asked[37] = SubjectQuestion(POISON, 3)
    answers = await gateway.ask_each(asked)
    assert [index for index, answer in enumerate(answers) if answer is None] == [37]
    await assert_it_waits(gateway, nation)


async def test_an_answer_that_cannot_be_read_is_none(nation: Nation, gateway: NationClient) -> None:
    nation.answers_nothing = True
    assert await gateway.ask_each(questions(2)) == [None, None]


async def test_a_cancelled_look_up_is_forgotten(nation: Nation, gateway: NationClient) -> None:
    """The questions of a cancelled call are not asked."""
    nation.open.clear()
    busy = asyncio.create_task(gateway.ask_each(questions(CALLS_AT_ONCE * MAX_BATCH)))
    await until(lambda: len(nation.calls) == CALLS_AT_ONCE)
    hung_up = asyncio.create_task(gateway.ask_each([SubjectQuestion(b"hung up".ljust(16), 3)]))
    await turns(1)
    hung_up.cancel()
    nation.open.set()
    assert None not in await busy
    assert len(await gateway.ask_each(questions(1))) == 1
    assert not [call for call in nation.calls if b"hung up".ljust(16) in call]


async def test_a_silent_line_is_given_up_once_however_many_calls_went_into_it(nation: Nation) -> None:
    """A call that fails later does not close the connection that the first failure opened and other calls use."""
    opened: list[grpc.aio.Channel] = []
    async with bare_server(add_ExchangeServiceServicer_to_server, nation) as address:

        def open_channel() -> grpc.aio.Channel:
            opened.append(open_apart(address, Settings.from_environment({}), dedicated=True))
            return opened[-1]

        line = ReconnectingStub(open_channel, ExchangeServiceStub)
        impatient = SubscriptionClient(line, HENAN, ResultsTiming(subscribe=0.3))
        patient = SubscriptionClient(line, HENAN, ResultsTiming(subscribe=TIMEOUT_SECONDS))
        silent = line.stub
        nation.open.clear()
        failures = await asyncio.gather(*(impatient.subscribe_each([POISON]) for _ in range(3)), return_exceptions=True)
        assert [type(failure) for failure in failures] == [Unavailable] * 3
        assert len(opened) == 2
        nation.open.set()
        await patient.subscribe_each([POISON])
        line.renew(silent)
        assert len(opened) == 2
        line.renew(line.stub)
        assert len(opened) == 3
        await line.close()
