"""A receiver of traces in the test's process, which speaks OTLP over gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.runtime.tracing.export import TraceExport
from services.runtime.tracing.recording import Tracing
from services.runtime.tracing.spans import current_span, use_tracing
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Received:
    """A span as the receiver got it. Ids are hexadecimal; `links` has the ids of the linked spans."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    is_error: bool


@dataclass
class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span. `texts` has all texts of all messages: names, keys, values and states."""

    address: str = ""
    spans: list[Received] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, _context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take spans."""
        for resource in request.resource_spans:
            named = _values(resource.resource.attributes)
            self.texts.update(map(str, (*named, *named.values())))
            for scope in resource.scope_spans:
                for span in scope.spans:
                    values = _values(span.attributes)
                    linked = [_values(link.attributes) for link in span.links]
                    events = [{event.name: ""} | _values(event.attributes) for event in span.events]
                    self.texts |= {span.name, span.trace_state, span.status.message}
                    for some in (values, *linked, *events):
                        self.texts.update(map(str, (*some, *some.values())))
                    self.spans.append(
                        Received(
                            named["service.name"],
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            values,
                            tuple(link.span_id.hex() for link in span.links),
                            span.status.code == span.status.STATUS_CODE_ERROR,
                        )
                    )
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, trace_id: str) -> list[Received]:
        """Return the spans of a trace."""
        return [span for span in list(self.spans) if span.trace_id == trace_id]

    def path(self, span: Received) -> list[str]:
        """Return the services and names of a span and of all above it that were received, the topmost first."""
        by_id = {one.span_id: one for one in self.trace(span.trace_id)}
        found: list[str] = []
        here: Received | None = span
        while here is not None:
            found.append(f"{here.service}: {here.name}")
            here = by_id.get(here.parent_id)
        return found[::-1]

    def count(self, name: str, trace_id: str) -> int:
        """Return how many spans of a trace have a name."""
        return sum(span.name == name for span in self.trace(trace_id))

    async def wait_for(self, name: str, trace_id: str = "") -> Received:
        """Wait for a span with a name, of one trace or of any. Return the first one."""

        def found() -> list[Received]:
            some = self.trace(trace_id) if trace_id else list(self.spans)
            return [span for span in some if span.name == name]

        await until(lambda: bool(found()))
        return found()[0]


def _values(pairs: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        kind = pair.value.WhichOneof("value")
        return getattr(pair.value, kind) if kind else ""

    return {pair.key: value(pair) for pair in pairs}


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive traces on a free port of loopback."""
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    receiver.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def exporting_to(receiver: Receiver) -> Iterator[None]:
    """Export every call of services in this process that are opened in the block."""
    export = TraceExport(lambda: OTLPSpanExporter(f"http://{receiver.address}"), 1, {})
    use_tracing(export.tracing)
    try:
        yield
    finally:
        use_tracing(None)
        export.stop()


@contextlib.contextmanager
def recording(ratio: float = 1.0) -> Iterator[InMemorySpanExporter]:
    """Record the spans of services in this process that are opened in the block."""
    exporter = InMemorySpanExporter()
    use_tracing(Tracing(SimpleSpanProcessor(exporter), ratio, {}))
    token = current_span.set(None)
    try:
        yield exporter
    finally:
        current_span.reset(token)
        use_tracing(None)
