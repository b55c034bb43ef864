"""The current span, and the operations on it.

While no span is recorded, the operations do nothing. OpenTelemetry is imported only if tracing is on. A process without
tracing therefore pays neither for its memory nor for its start.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from services.runtime.tracing.recording import ActiveSpan, ServiceTracer, Tracing

R = TypeVar("R")

current_span: ContextVar[ActiveSpan | None] = ContextVar("current_span", default=None)
"""The recorded span to which the running code belongs; None if tracing is off or the call is not sampled."""


class _State:
    """Whether this process traces. The state belongs to the whole process, as do its logs and metrics."""

    tracing: Tracing | None = None


def use_tracing(tracing: Tracing | None) -> None:
    """Let services that open from now on record spans. With None they record no spans."""
    _State.tracing = tracing


def is_tracing() -> bool:
    """Return whether this process traces."""
    return _State.tracing is not None


def tracer_of(service: str) -> ServiceTracer | None:
    """Return the tracer of a service; None if tracing is off."""
    return None if _State.tracing is None else _State.tracing.tracer_of(service)


@contextlib.contextmanager
def child_span(name: str, attributes: Mapping[str, str | int] | None = None) -> Iterator[ActiveSpan | None]:
    """Record the block as a child of the current span."""
    parent = current_span.get()
    if parent is None:
        yield None
        return
    with recorded(parent.child(name, attributes)) as active:
        yield active


@contextlib.contextmanager
def message_span(
    service: str, name: str, attributes: Mapping[str, str | int] | None = None, parent: tuple[str, str] | None = None
) -> Iterator[ActiveSpan | None]:
    """Record the block, if it is sampled, as the work for one message of a stream. A stream may last for days.

    `parent` is the trace and the span under which the other side records the message. Without a parent the block begins
    a new trace. The span of the block has a link to the current span, which is the span of the stream.
    """
    tracer = tracer_of(service)
    if tracer is None:
        yield None
        return
    active = tracer.begin_message(name, attributes, current_span.get(), parent)
    if active is not None:
        with recorded(active):
            yield active
        return
    token = current_span.set(None)
    try:
        yield None
    finally:
        current_span.reset(token)


def end_message(active: ActiveSpan | None, error: str = "") -> None:
    """End the span of a message. `error` is the class name of the error; empty if there was none."""
    if active is not None:
        if error:
            active.fail(error)
        active.end()


@contextlib.contextmanager
def batch_span(name: str, askers: Sequence[ActiveSpan | None]) -> Iterator[ActiveSpan]:
    """Record the block as one span for a batch of questions. At least one question belongs to a recorded call.

    The span is a child of the first recorded call and has a link to every recorded call. The other recorded calls get a
    link to the span.
    """
    distinct = list(dict.fromkeys(one for one in askers if one is not None))
    first, *others = distinct
    active = first.child(name, {"hutong.batch.size": len(askers)}, links=distinct)
    for other in others:
        other.link_to(active)
    with recorded(active):
        yield active


@contextlib.contextmanager
def recorded(active: ActiveSpan) -> Iterator[ActiveSpan]:
    """Make a span the current one in the block, and end it with the block."""
    token = current_span.set(active)
    try:
        yield active
    except BaseException as error:
        active.fail(type(error).__name__)
        raise
    finally:
        current_span.reset(token)
        active.end()


def carried(name: str, work: Callable[[], R]) -> Callable[[], R]:
    """Return work that can run in a thread. It is recorded in a child of the current span.

    The span begins now, so that it includes the wait for a thread.
    """
    parent = current_span.get()
    if parent is None:
        return work
    active, context = parent.child(name), contextvars.copy_context()

    def run() -> R:
        with recorded(active):
            return work()

    return lambda: context.run(run)
