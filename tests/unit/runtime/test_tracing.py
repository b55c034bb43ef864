"""Spans are recorded where they are wanted, and a receiver that fails costs spans and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.runtime.call import Call, current_call, outgoing_metadata, trace_fields
from services.runtime.client.coalescer import Coalescer
from services.runtime.client.traced_channel import TracedChannel
from services.runtime.server.interceptors.method import Method
from services.runtime.server.interceptors.request_id import RequestId
from services.runtime.tracing.drivers import describe_statement
from services.runtime.tracing.export import QUEUE_SPANS, TraceExport
from services.runtime.tracing.spans import carried, child_span, current_span, is_tracing, message_span, tracer_of
from tests.support.traces import recording
from tests.support.waiting import wait_until

OUTCOMES = ("exported", "failed", "dropped")


class Receiver(SpanExporter):
    """A receiver that answers once the test lets it, as the test says."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.may_answer = threading.Event()
        self.result = SpanExportResult.SUCCESS
        self.opened = 0
        if is_open:
            self.may_answer.set()

    def open(self) -> SpanExporter:
        """Open a connection."""
        self.opened += 1
        return self

    def export(self, _spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans."""
        self.may_answer.wait()
        return self.result

    def shutdown(self) -> None:
        """End the connection, and what hangs on it."""
        self.result = SpanExportResult.FAILURE
        self.may_answer.set()


def counted(outcome: str) -> float:
    """Return how many spans ended in a way."""
    return REGISTRY.get_sample_value("hutong_trace_spans_total", {"outcome": outcome}) or 0.0


def end_spans(export: TraceExport, count: int) -> None:
    tracer = export.tracing.tracer_of("results")
    for _ in range(count):
        span = tracer.begin_message("a message", None, None)
        assert span is not None
        span.end()


def test_nothing_is_recorded_unless_the_operator_wants_it() -> None:
    assert not is_tracing()
    assert tracer_of("results") is None
    with message_span("results", "a message") as message, child_span("a part") as part:
        assert message is part is None

    def work() -> int:
        return 1

    assert carried("work", work) is work


def test_receiver_that_hangs_delays_nothing_and_costs_spans() -> None:
    """The queue is bounded, and so is the end of the process."""
    receiver = Receiver(is_open=False)
    export = TraceExport(receiver.open, 1, {})
    dropped, counted_before = counted("dropped"), sum(map(counted, OUTCOMES))
    end_spans(export, QUEUE_SPANS * 2)
    assert counted("dropped") - dropped >= QUEUE_SPANS / 2
    export.stop(0.01)
    assert receiver.may_answer.is_set()
    # The thread ends too, and every span is counted once.
    wait_until(lambda: sum(map(counted, OUTCOMES)) - counted_before == QUEUE_SPANS * 2)


def test_receiver_that_fails_is_connected_again() -> None:
    """The new connection uses the certificate that the node has then.

    One line is logged for the failure and one for the recovery.
    """
    receiver = Receiver()
    receiver.result = SpanExportResult.FAILURE
    export = TraceExport(receiver.open, 1, {})
    failed, exported = counted("failed"), counted("exported")
    with capture_logs() as lines:
        end_spans(export, 1)
        wait_until(lambda: counted("failed") > failed)
        receiver.shutdown = lambda: None  # type: ignore[method-assign]
        receiver.result = SpanExportResult.SUCCESS
        end_spans(export, 1)
        wait_until(lambda: counted("exported") > exported)
        export.stop()
    assert receiver.opened == 2
    assert [line["log_level"] for line in lines] == ["warning", "info"]


async def test_questions_of_a_batch_are_linked_with_it() -> None:
    """The batch is in the trace of the first recorded call, which its own calls carry on."""
    seen: list[dict[str, str]] = []

    async def call(questions: list[int]) -> Sequence[int]:
        seen.append(trace_fields())
        return questions

    with recording() as spans:
        coalescer: Coalescer[int, int] = Coalescer(call, name="a batch")
        tracer = tracer_of("results")
        assert tracer is not None
        begun = [tracer.begin_message(name, None, None) for name in ("first", "second")]
        answers = []
        for active in (None, *begun):
            current_call.set(Call("not recorded" if active is None else "recorded"))
            current_span.set(active)
            answers.append(coalescer.ask(1))
        for answer in answers:
            await answer
        current_call.set(None)
        for active in begun:
            assert active is not None
            active.end()
        batch, first, second = spans.get_finished_spans()
    assert batch.parent is not None
    assert first.context is not None
    assert second.context is not None
    assert batch.context is not None
    assert batch.attributes == {"hutong.batch.size": 3}
    assert batch.parent.span_id == first.context.span_id
    assert [link.context.span_id for link in batch.links] == [first.context.span_id, second.context.span_id]
    assert not first.links
    assert [link.context.span_id for link in second.links] == [batch.context.span_id]
    assert seen == [{}]


def test_calls_that_are_not_sampled_are_not_recorded() -> None:
    with recording(ratio=0) as spans:
        with message_span("results", "a message") as message, child_span("a part") as part:
            assert message is part is None
        tracer = tracer_of("results")
        assert tracer is not None
        begun = tracer.begin_call("a call", None, {})
        assert begun.active is None
        assert begun.trace_id != "0" * 32
        sampled = tracer.begin_call("a call", ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"), {})
        assert sampled.active is not None
        sampled.active.end()
        assert [span.name for span in spans.get_finished_spans()] == ["a call"]


class Metadata:
    """The part of a call's context that the first layer reads."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what the caller sent."""
        return self._pairs


@pytest.mark.parametrize(("ratio", "flags"), [(0.0, "00"), (1.0, "01")])
async def test_decision_about_a_call_goes_on_to_other_services(ratio: float, flags: str) -> None:
    """Whether a call is recorded is decided once, by the caller or by the first service, and sent on in `traceparent`.

    If each service decided anew, traces would begin in the middle.
    """
    sent: list[str] = []

    async def proceed(_request: Any, _context: Any) -> None:
        sent.append(dict(outgoing_metadata())["traceparent"])

    method = Method("/hutong.x.v1.X/Do", request_streaming=False, response_streaming=False)
    with recording(ratio) as spans:
        answer = RequestId(tracer_of("verification")).around_unary(method, proceed)
        await answer(None, Metadata())
        await answer(None, Metadata(("traceparent", f"00-{'a' * 32}-{'b' * 16}-00")))
        assert len(spans.get_finished_spans()) == ratio
    assert [text[-2:] for text in sent] == [flags, "00"]
    assert sent[1].split("-")[1] == "a" * 32


class Channel:
    """A channel that keeps the metadata of calls and never ends them."""

    def __init__(self) -> None:
        self.sent: list[list[tuple[str, str]]] = []

    def unary_unary(self, _method: str) -> Any:
        """Return the function that calls a method."""

        def call(_request: Any, *, metadata: Any = None) -> Channel:
            self.sent.append(list(metadata or ()))
            return self

        return call

    def add_done_callback(self, _on_end: Any) -> None:
        """Do nothing, because the call does not end."""


def test_calls_for_what_is_not_recorded_are_not_sampled() -> None:
    """A question of a stream may be left out although the stream itself is recorded."""
    inner = Channel()
    call = TracedChannel(cast("grpc.aio.Channel", inner)).unary_unary("/hutong.x.v1.X/Do")
    of_stream = (("x-request-id", "r"), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"))
    with recording():
        call("question")
        call("question", metadata=of_stream)
        with message_span("results", "a message") as active:
            assert active is not None
            call("question", metadata=of_stream)
    nothing, left_out, recorded = inner.sent
    assert nothing == []
    assert dict(left_out) == {"x-request-id": "r", "traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}
    assert dict(recorded)["traceparent"].split("-")[1] == active.trace_id
    assert dict(recorded)["traceparent"].endswith("-01")
    assert len(recorded) == len(left_out)


def test_failed_work_is_marked_with_its_class_alone() -> None:
    with recording() as spans:
        with pytest.raises(ValueError, match="张三"), message_span("results", "a message"):
            raise ValueError("张三 410105186001010019")
        (span,) = spans.get_finished_spans()
    assert span.attributes == {"error.type": "ValueError"}
    assert span.status.description is None
    assert not span.events


@pytest.mark.parametrize(
    ("statement", "described"),
    [
        ("SELECT a FROM results WHERE b = ?", ("SELECT", "results")),
        ('INSERT INTO "audit_rows" (a) VALUES (?)', ("INSERT", "audit_rows")),
        ("  update labs SET a = 1", ("UPDATE", "labs")),
        ("COPY report_keys (a) FROM STDIN", ("COPY", "report_keys")),
        ("BEGIN IMMEDIATE", ("BEGIN", "")),
        ("SELECT 1 FROM t410105186001010019", ("SELECT", "")),
        ("410105186001010019", ("STATEMENT", "")),
    ],
)
def test_statement_is_named_by_its_kind_and_table(statement: str, described: tuple[str, str]) -> None:
    """A number in it is never recorded, whatever it stands for."""
    assert describe_statement(statement) == described
