"""Records spans with OpenTelemetry's SDK. This module is imported only if tracing is on.

A span contains names of the contract, sizes, codes and kinds of statements. It never contains a field of a request, a
text of an error, a parameter, a caller's name or an address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import getrandbits, random
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

STATEMENTS_SHOWN = 64
"""The most statements that are recorded below one span. On SQLite, a batch of 500 questions runs 500 statements."""

Attributes = Mapping[str, str | int]


class ActiveSpan:
    """A span that is recorded, with the tracer of its service."""

    __slots__ = ("_span", "_statements_left", "_tracer")

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._statements_left = STATEMENTS_SHOWN

    @property
    def trace_id(self) -> str:
        """The trace's id, as in `traceparent`."""
        return f"{self._span.get_span_context().trace_id:032x}"

    @property
    def span_id(self) -> str:
        """The span's id, as in `traceparent`."""
        return f"{self._span.get_span_context().span_id:016x}"

    def to_header(self) -> str:
        """Return the `traceparent` that is sent with calls and messages of this span to other processes."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    def child(
        self,
        name: str,
        attributes: Attributes | None = None,
        *,
        is_client: bool = False,
        links: Sequence[ActiveSpan] = (),
    ) -> ActiveSpan:
        """Begin a child. `is_client` says that another process does the work."""
        span = self._tracer.start_span(
            name,
            context=set_span_in_context(self._span, Context()),
            kind=SpanKind.CLIENT if is_client else SpanKind.INTERNAL,
            attributes=attributes,
            links=[Link(one._span.get_span_context()) for one in links],  # noqa: SLF001 - of this class
        )
        return ActiveSpan(self._tracer, span)

    def statement(self, name: str, attributes: Attributes) -> ActiveSpan | None:
        """Begin a child for a statement. Return None once STATEMENTS_SHOWN children exist."""
        if not self._statements_left:
            return None
        self._statements_left -= 1
        return self.child(name, attributes, is_client=True)

    def note(self, key: str, value: str | int) -> None:
        """Set an attribute."""
        self._span.set_attribute(key, value)

    def link_to(self, other: ActiveSpan) -> None:
        """Add a link to another span."""
        self._span.add_link(other._span.get_span_context())

    def fail(self, kind: str) -> None:
        """Mark the span as failed.

        `kind` is a reason, a code or the name of a class, and never the text of an error.
        """
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        """End the span and hand it to the exporter."""
        self._span.end()


class Beginning(NamedTuple):
    """The span of a call that has begun: the id of its trace, its own id, and the span; None if it is not sampled."""

    trace_id: str
    span_id: str
    active: ActiveSpan | None


class ServiceTracer:
    """Begins the spans of one service. Of calls and messages without a parent, the share `ratio` is sampled."""

    def __init__(self, tracer: Tracer, ratio: float) -> None:
        self._tracer = tracer
        self._ratio = ratio

    def begin_call(self, name: str, parent: tuple[str, str] | None, attributes: Attributes) -> Beginning:
        """Begin the span of a call that this service answers.

        `parent` has the trace and the span of a caller that has sampled them; None for a call without a trace.
        """
        if parent is None and not self._is_sampled():
            return Beginning(f"{getrandbits(128):032x}", f"{getrandbits(64):016x}", None)
        context = _context_of(parent)
        span = self._tracer.start_span(name, context=context, kind=SpanKind.SERVER, attributes=attributes)
        active = ActiveSpan(self._tracer, span)
        return Beginning(active.trace_id, active.span_id, active)

    def begin_message(
        self,
        name: str,
        attributes: Attributes | None,
        stream: ActiveSpan | None,
        parent: tuple[str, str] | None = None,
    ) -> ActiveSpan | None:
        """Begin the span of a message, with a link to the span of its stream.

        Return None if the message is not sampled.
        """
        if parent is None and not self._is_sampled():
            return None
        links = [] if stream is None else [Link(stream._span.get_span_context())]  # noqa: SLF001 - of this module
        span = self._tracer.start_span(name, context=_context_of(parent), attributes=attributes, links=links)
        return ActiveSpan(self._tracer, span)

    def _is_sampled(self) -> bool:
        """Decide whether to sample a new trace.

        OpenTelemetry's sampler would take 15 µs even for a call that is not sampled.
        """
        return random() < self._ratio  # noqa: S311 - no secret depends on it


def _context_of(parent: tuple[str, str] | None) -> Context:
    """Return the context for a span with a sampled parent in another process.

    Without a parent, return the context for a new trace.
    """
    if parent is None:
        return Context()
    trace_id, span_id = parent
    flags = TraceFlags(TraceFlags.SAMPLED)
    remote = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(remote), Context())


class Tracing:
    """The tracers of the services in this process. They share one processor.

    Attributes:
        processor: takes each span that has ended.
    """

    def __init__(self, processor: SpanProcessor, ratio: float, common: Attributes) -> None:
        self.processor = processor
        self._ratio = ratio
        self._common = common
        self._tracers: dict[str, ServiceTracer] = {}

    def tracer_of(self, service: str) -> ServiceTracer:
        """Return the tracer of a service."""
        if service not in self._tracers:
            resource = Resource.create({"service.name": f"hutong-{service}", **self._common})
            # The provider samples everything it gets, because ServiceTracer has decided already.
            provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
            provider.add_span_processor(self.processor)
            self._tracers[service] = ServiceTracer(provider.get_tracer("hutong"), self._ratio)
        return self._tracers[service]
