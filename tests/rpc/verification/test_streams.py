"""Gate streams: idle ones cost little, broken ones are cleaned up, draining ends them, one failure is one answer's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from google.rpc import code_pb2
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    StreamVerifyRequest,
    StreamVerifyResponse,
)
from hutong.verification.v1.verification_service_pb2_grpc import (
    VerificationServiceStub,
    add_VerificationServiceServicer_to_server,
)

from services.runtime.server.service import Drain, Registration, Service
from services.verification.verify.kept import Unkept
from services.verification.verify.questions.asker import Asker
from services.verification.verify.scope import Unanswered
from services.verification.verify.servicer import VerificationServicer
from services.verification.verify.stream import QUESTIONS_AT_ONCE, VerificationStream
from tests.support.servers import channel_to, settings_for
from tests.support.verification.node import NUMBERS, question
from tests.support.waiting import turns, until


class ScriptedVerifier:
    """Answers at once, fails when asked for region 000000, and can be made to wait."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.nation = asyncio.Event()
        self.under_way = 0

    async def answer_by_own_records(
        self, batch: BatchVerifyRequest, replies: Sequence[StreamVerifyResponse], askers: Sequence[Asker]
    ) -> tuple[list[Unanswered], list[Unkept]]:
        """The nation need be asked about people of district 220502 alone."""
        rest = [
            Unanswered(None, None, reply, Asker())  # type: ignore[arg-type]
            for request, reply in zip(batch.requests, replies, strict=True)
            if request.region == "220502"
        ]
        await self.answer_each(batch, replies, askers)
        return rest, []

    async def keep(self, unkept: Sequence[Unkept]) -> None:
        """Store nothing."""
        assert not unkept

    async def answer_rest(self, rest: Sequence[Unanswered]) -> None:
        """The nation answers when it is let."""
        await self.nation.wait()
        for one in rest:
            one.reply.decision.governing_policy = "the nation"

    async def answer_each(
        self,
        batch: BatchVerifyRequest,
        replies: Sequence[StreamVerifyResponse],
        askers: Sequence[Asker],  # noqa: ARG002 - as Verifier
    ) -> None:
        """Decisions that name the region."""
        requests = batch.requests
        self.under_way += len(requests)
        await self.open.wait()
        self.under_way -= len(requests)
        if any(request.region == "000000" for request in requests):
            raise RuntimeError("a fault of the service")
        for request, reply in zip(requests, replies, strict=True):
            reply.decision.governing_policy = request.region


@asynccontextmanager
async def gates(
    directory: Path, verifier: ScriptedVerifier
) -> AsyncIterator[tuple[VerificationServiceStub, VerificationStream, Drain]]:
    """A real server with nothing but streams behind it."""
    drain = Drain()
    streams = VerificationStream(verifier, drain)  # type: ignore[arg-type]

    async def close() -> None:
        return None

    async def check() -> None:
        return None

    servicer = VerificationServicer(verifier, verifier, streams, None, None)  # type: ignore[arg-type]
    name = "hutong.verification.v1.VerificationService"
    registration = Registration(name, add_VerificationServiceServicer_to_server, servicer)
    service = Service(
        "verification", (registration,), check, close, background=(streams.close_when_drained,), drain=drain
    )
    async with channel_to(service, settings_for(directory)) as channel:
        yield VerificationServiceStub(channel), streams, drain


def _frame(mark: str, region: str = "410105") -> StreamVerifyRequest:
    return StreamVerifyRequest(correlation_id=mark, request=question(NUMBERS[0], region=region))


async def _ask(call: Any, mark: str) -> str:
    await call.write(_frame(mark))
    answer = await call.read()
    return str(answer.correlation_id)


async def test_many_idle_streams_are_held_and_cleaned_up(tmp_path: Path) -> None:
    """100 gates answer, idle and answer again; half-closed, cancelled and reset ones leave nothing behind.

    A connection has room for 128 streams.
    """
    async with gates(tmp_path, ScriptedVerifier()) as (stub, streams, _):
        calls = [stub.StreamVerify() for _ in range(100)]
        assert await asyncio.gather(*(_ask(call, "1") for call in calls)) == ["1"] * 100
        assert streams.open_count == 100
        assert await asyncio.gather(*(_ask(call, "2") for call in calls)) == ["2"] * 100
        for call in calls[:50]:
            call.cancel()
        for call in calls[50:]:
            await call.done_writing()
            assert await call.read() == grpc.aio.EOF
        await until(lambda: streams.open_count == 0)


async def test_draining_ends_idle_streams_cleanly(tmp_path: Path) -> None:
    """When the server drains, a gate's stream ends with OK, not with a reset, and its last question is answered."""
    verifier = ScriptedVerifier()
    async with gates(tmp_path, verifier) as (stub, streams, drain):
        call = stub.StreamVerify()
        assert await _ask(call, "1") == "1"
        verifier.open.clear()
        await call.write(_frame("last"))
        await until(lambda: verifier.under_way == 1)
        drain.begin()
        verifier.open.set()
        assert (await call.read()).correlation_id == "last"
        assert await call.read() == grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK
        await until(lambda: streams.open_count == 0)


async def test_a_failure_is_one_question_s_own(tmp_path: Path) -> None:
    """A fault of the service answers INTERNAL with a fixed text for that question; the stream goes on."""
    async with gates(tmp_path, ScriptedVerifier()) as (stub, _, _):
        call = stub.StreamVerify()
        await call.write(_frame("bad", "000000"))
        answer: Any = await call.read()
        assert (answer.correlation_id, answer.error.code) == ("bad", code_pb2.INTERNAL)
        assert "fault of the service" not in answer.error.message
        assert await _ask(call, "good") == "good"
        await call.done_writing()


async def test_a_gate_that_asks_faster_than_it_is_answered_is_held_back(tmp_path: Path) -> None:
    """No more questions of one stream are under way than allowed; all are answered in the end."""
    verifier = ScriptedVerifier()
    verifier.open.clear()
    async with gates(tmp_path, verifier) as (stub, streams, _):
        call = stub.StreamVerify()
        for mark in range(3 * QUESTIONS_AT_ONCE):
            await call.write(_frame(str(mark)))
        await call.done_writing()
        await until(lambda: streams.question_count == QUESTIONS_AT_ONCE)
        verifier.open.set()
        answers: Any = call
        marks = {answer.correlation_id async for answer in answers}
        assert len(marks) == 3 * QUESTIONS_AT_ONCE


async def test_a_gate_that_reads_no_answers_is_read_no_further() -> None:
    """Answers that are not sent yet count as open questions, so they take a limited amount of memory."""
    count, read = 3 * QUESTIONS_AT_ONCE, 0

    async def questions() -> AsyncIterator[StreamVerifyRequest]:
        nonlocal read
        for read in range(1, count + 1):
            yield _frame(str(read))

    streams = VerificationStream(ScriptedVerifier(), Drain())  # type: ignore[arg-type]
    answers = streams.serve(questions())
    marks = {(await anext(answers)).correlation_id}
    # One question is answered, one waits for room.
    await until(lambda: read == QUESTIONS_AT_ONCE + 2)
    await turns(100)
    assert read == QUESTIONS_AT_ONCE + 2
    assert streams.question_count == 0
    marks |= {answer.correlation_id async for answer in answers}
    assert len(marks) == count
    assert streams.open_count == 0


async def test_a_broken_rule_of_a_frame_ends_the_stream(tmp_path: Path) -> None:
    """A mark of more than 64 characters is no question's fault but the frame's: INVALID_ARGUMENT."""
    async with gates(tmp_path, ScriptedVerifier()) as (stub, streams, _):
        call = stub.StreamVerify()
        await call.write(StreamVerifyRequest(correlation_id="x" * 65))
        assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
        await until(lambda: streams.open_count == 0)


async def test_a_question_for_the_nation_holds_up_no_other(tmp_path: Path) -> None:
    """Questions that own records settle are answered at once.

    The others are answered when the nation answers, each by its id.
    """
    verifier = ScriptedVerifier()
    async with gates(tmp_path, verifier) as (stub, streams, _):
        call = stub.StreamVerify()
        await call.write(_frame("for the nation", region="220502"))
        await call.write(_frame("here"))
        answer = await call.read()
        assert (answer.correlation_id, answer.decision.governing_policy) == ("here", "410105")
        await call.done_writing()
        await until(lambda: streams.question_count == 1)
        verifier.nation.set()
        answer = await call.read()
        assert (answer.correlation_id, answer.decision.governing_policy) == ("for the nation", "the nation")
        assert await call.read() == grpc.aio.EOF
