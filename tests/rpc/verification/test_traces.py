"""Traces of a node, as a receiver of OTLP gets them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
import pytest_asyncio
from hutong.verification.v1.verification_service_pb2 import StreamVerifyRequest

from services.domain.instant import HOUR
from services.runtime.clock import SystemClock
from tests.support.traces import Receiver, receiving
from tests.support.verification.node import NUMBERS, SERVICES, Callers, Node, calling, paper, question
from tests.support.waiting import until

in_module = pytest.mark.asyncio(loop_scope="module")
SAMPLED, NOT_SAMPLED = "01", "00"
VERIFY = "hutong.verification.v1.VerificationService/Verify"
RESOLVE = "hutong.policy.v1.PolicyService/BatchResolvePolicies"
STREAM = "hutong.verification.v1.VerificationService/StreamVerify"
LOOK_UP = "hutong.results.internal.v1.InternalLookupService/BatchLookupColumns"


@dataclass(frozen=True, slots=True)
class Traced:
    """A node that records every call unless its trace is not sampled, and what the receiver got."""

    callers: Callers
    receiver: Receiver
    node: Node


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def traced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traced]:
    """A node with one person's negative result."""
    with receiving() as receiver:
        node = Node(
            tmp_path_factory.mktemp("traced"),
            more={"HUTONG_OTLP_ENDPOINT": f"http://{receiver.address}", "HUTONG_TRACE_RATIO": "1"},
        )
        try:
            await node.start(*SERVICES)
            async with calling(node.addresses) as callers:
                await callers.create_lab()
                await callers.publish("410100", 48 * HOUR)
                await callers.upload(NUMBERS[0], "R1-SECRET", SystemClock().now() - HOUR)
                # The first question is the only one for which Policy is asked.
                await callers.decisions.Verify(question(NUMBERS[0]), metadata=parent(1))
                yield Traced(callers, receiver, node)
        finally:
            await node.close()


def parent(number: int, flags: str = SAMPLED) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a caller's trace."""
    return (("traceparent", f"00-{trace_id(number)}-00f067aa0ba902b7-{flags}"),)


def trace_id(number: int) -> str:
    return f"{number:032x}"


@in_module
async def test_one_verify_is_one_trace_down_to_the_statement(traced: Traced) -> None:
    """The caller's own span is above it."""
    statement = await traced.receiver.wait_for("SELECT results", trace_id(1))
    call = await traced.receiver.wait_for(VERIFY, trace_id(1))
    assert traced.receiver.path(statement) == [
        f"hutong-verification: {VERIFY}",
        "hutong-verification: look-up batch",
        f"hutong-verification: {LOOK_UP}",
        f"hutong-results: {LOOK_UP}",
        "hutong-results: database read",
        "hutong-results: SELECT results",
    ]
    assert call.parent_id == "00f067aa0ba902b7"
    assert {name: value for name, value in call.attributes.items() if name.startswith("rpc.")} == {
        "rpc.system": "grpc",
        "rpc.service": "hutong.verification.v1.VerificationService",
        "rpc.method": "Verify",
        "rpc.grpc.status_code": 0,
    }
    assert call.attributes["hutong.request_id"]
    assert statement.attributes == {
        "db.system.name": "sqlite",
        "db.operation.name": "SELECT",
        "db.collection.name": "results",
    }


@in_module
async def test_question_for_policy_is_in_the_trace(traced: Traced) -> None:
    """Policy has what it answers with in memory, so no statement is below its call."""
    called = await traced.receiver.wait_for(RESOLVE, trace_id(1))
    await until(lambda: len([span for span in traced.receiver.trace(trace_id(1)) if span.name == RESOLVE]) == 2)
    inner = next(span for span in traced.receiver.trace(called.trace_id) if span.service == "hutong-policy")
    assert traced.receiver.path(inner) == [
        f"hutong-verification: {VERIFY}",
        "hutong-verification: policy batch",
        f"hutong-verification: {RESOLVE}",
        f"hutong-policy: {RESOLVE}",
    ]


@in_module
async def test_commit_of_the_audit_is_in_the_trace(traced: Traced) -> None:
    """A decision of a person without results is stored with its row of the audit before the answer leaves."""
    await traced.callers.decisions.Verify(question(NUMBERS[1]), metadata=parent(2))
    await traced.receiver.wait_for(VERIFY, trace_id(2))
    commit = await traced.receiver.wait_for("COMMIT", trace_id(2))
    assert traced.receiver.path(commit)[-3:] == [
        "hutong-verification: audit batch",
        "hutong-verification: database write",
        "hutong-verification: COMMIT",
    ]


@in_module
async def test_failed_call_is_marked_without_its_text(traced: Traced) -> None:
    """A caller's mistake is no error of the server, so only the code and the reason are there."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await traced.callers.decisions.Verify(question("12345", region="999999"), metadata=parent(3))
    call = await traced.receiver.wait_for(VERIFY, trace_id(3))
    assert call.attributes["rpc.grpc.status_code"] == refused.value.code().value[0]
    assert call.attributes["hutong.reason"] == "BAD_DOCUMENT_NUMBER"
    assert not call.is_error


@in_module
async def test_messages_of_a_stream_have_traces_of_their_own(traced: Traced) -> None:
    """A stream may last for days, so its own trace has no questions. Each question has a link to the stream."""
    asked = StreamVerifyRequest(correlation_id="1", request=question(NUMBERS[0]))
    call = traced.callers.decisions.StreamVerify(iter([asked]), metadata=parent(4))
    assert [one.correlation_id async for one in call] == ["1"]
    stream = await traced.receiver.wait_for(STREAM, trace_id(4))
    asked_span = await traced.receiver.wait_for("stream question")
    assert asked_span.links == (stream.span_id,)
    look_up = await traced.receiver.wait_for(LOOK_UP, asked_span.trace_id)
    assert traced.receiver.path(look_up)[:2] == [
        "hutong-verification: stream question",
        "hutong-verification: stream batch",
    ]
    assert [span.name for span in traced.receiver.trace(trace_id(4))] == [STREAM]


@in_module
async def test_batch_of_an_upload_has_a_trace_of_its_own(traced: Traced) -> None:
    """Down to the commit."""
    batch = await traced.receiver.wait_for("upload batch")
    commit = await traced.receiver.wait_for("COMMIT", batch.trace_id)
    assert traced.receiver.path(commit) == [
        "hutong-results: upload batch",
        "hutong-results: database write",
        "hutong-results: COMMIT",
    ]


HOSTILE = (
    "",
    "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
    f"00-{trace_id(5)}-{'0' * 16}-01",
    f"00-{trace_id(5)}-00f067aa0ba902b7-zz",
    f"00-{trace_id(5)}-00f067aa0ba902b7-01-{NUMBERS[0]}",
    f"ff-{trace_id(5)}-00f067aa0ba902b7-01",
    f"00-{NUMBERS[0]}-zhang-san-01",
    "0" * 4_000,
)


@in_module
async def test_text_that_is_no_trace_is_ignored(traced: Traced) -> None:
    """The call is answered, and begins a trace of its own."""
    for text in HOSTILE:
        await traced.callers.decisions.Verify(question(NUMBERS[0]), metadata=(("traceparent", text),))
    await traced.callers.decisions.Verify(question(NUMBERS[0]), metadata=parent(7))
    await traced.receiver.wait_for(VERIFY, trace_id(7))
    assert not traced.receiver.trace(trace_id(5))


@in_module
async def test_trace_that_is_not_sampled_is_not_recorded(traced: Traced) -> None:
    """No service records the trace, although this node records each call without a trace."""
    await traced.callers.decisions.Verify(question(NUMBERS[0]), metadata=parent(6, NOT_SAMPLED))
    await traced.callers.decisions.Verify(question(NUMBERS[0]), metadata=parent(8))
    # A service exports its spans in the order in which they end. Spans of the first call would come before these.
    for span in (VERIFY, "SELECT results"):
        await traced.receiver.wait_for(span, trace_id(8))
    assert not traced.receiver.trace(trace_id(6))


@in_module
async def test_no_span_has_an_identity(traced: Traced) -> None:
    """Every text of every span is looked at. An upload, a question with evidence and a refused call are among them."""
    now = SystemClock().now()
    shown = [paper("R2-SECRET", now - HOUR)]
    await traced.callers.decisions.Verify(question(NUMBERS[2], evidence=shown), metadata=parent(11))
    with pytest.raises(grpc.aio.AioRpcError):
        await traced.callers.decisions.Verify(question(f"{NUMBERS[0]}7"), metadata=parent(9))
    for span, number in (("SELECT results", 11), (VERIFY, 11), (VERIFY, 9)):
        await traced.receiver.wait_for(span, trace_id(number))
    texts = "\n".join(traced.receiver.texts)
    for secret in (*NUMBERS, "张三", "R1-SECRET", "R2-SECRET", "91410100MA0000001X", "127.0.0.1"):
        assert secret not in texts
    assert not re.search(r"[0-9]{15}", texts)


@in_module
async def test_lines_of_the_log_have_the_trace(traced: Traced) -> None:
    """Lines of the log of Results have the trace too."""
    await traced.callers.decisions.Verify(question(NUMBERS[0]), metadata=parent(10))
    for service in ("verification", "results"):
        await until(lambda service=service: trace_id(10) in traced.node.log(service))
