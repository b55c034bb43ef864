"""Sends spans to an OTLP receiver from its own thread. This module is imported only if tracing is on.

A receiver that fails or is slow delays no answer. Spans that the receiver does not take are dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version

import structlog
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import Counter

from services.runtime.certificates import channel_credentials, check_tls_files
from services.runtime.configuration.settings import Settings
from services.runtime.tracing.recording import Attributes, Tracing

QUEUE_SPANS = 4_096
"""The most spans that wait for the receiver: a few megabytes. Further spans are dropped."""
BATCH_SPANS = 512
"""The most spans in one message to the receiver: some hundred kilobytes."""
SEND_MILLISECONDS = 1_000
"""How long spans gather before they are sent."""
EXPORT_SECONDS = 5.0
"""How long the receiver may take for a message, including all attempts."""
STOP_SECONDS = 3.0
"""How long a process that stops waits until the receiver has taken the last spans."""

SPANS = Counter("hutong_trace_spans_total", "Spans of traces, by what became of them", ["outcome"])

_log = structlog.get_logger(__name__)


def open_export(settings: Settings) -> TraceExport:
    """Export the spans of this process to the receiver of the settings.

    Raises:
        BadSetting: a file of TLS cannot be used.
    """
    check_tls_files(settings.tls)
    # The exporter would log a line for each attempt. This module logs one line when the receiver begins to fail.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    common = {"service.version": version("hutong"), "hutong.node": settings.jurisdiction}
    return TraceExport(partial(_open_exporter, settings), settings.trace_ratio, common)


class TraceExport:
    """Exports the spans of this process. `common` are attributes of the process.

    Attributes:
        tracing: the tracers of the services.
    """

    def __init__(self, open_exporter: Callable[[], SpanExporter], ratio: float, common: Attributes) -> None:
        self._exporter = _RenewedExporter(open_exporter)
        self._processor = _BoundedProcessor(self._exporter)
        self.tracing = Tracing(self._processor, ratio, common)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Send the spans that wait, and end the thread. This takes hardly longer than `seconds`."""
        stopping = threading.Thread(target=self._processor.shutdown, daemon=True)
        stopping.start()
        stopping.join(seconds)
        if stopping.is_alive():
            # This makes every further export fail at once.
            self._exporter.shutdown()


def _open_exporter(settings: Settings) -> SpanExporter:
    tls = settings.tls
    return OTLPSpanExporter(settings.otlp_endpoint, credentials=channel_credentials(tls), timeout=EXPORT_SECONDS)


class _BoundedProcessor(BatchSpanProcessor):
    """A queue of spans with a thread that sends them. It drops a new span while the queue is full."""

    def __init__(self, exporter: _RenewedExporter) -> None:
        self._waiting = 0
        self._lock = threading.Lock()
        exporter.on_taken = self._note_taken
        super().__init__(
            exporter,
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=SEND_MILLISECONDS,
            max_export_batch_size=BATCH_SPANS,
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span."""
        with self._lock:
            is_full = self._waiting >= QUEUE_SPANS
            self._waiting += not is_full
        if is_full:
            SPANS.labels("dropped").inc()
        else:
            super().on_end(span)

    def _note_taken(self, count: int) -> None:
        with self._lock:
            self._waiting -= count


class _RenewedExporter(SpanExporter):
    """Sends spans, and counts those that were sent and those that were lost.

    After a failure a new exporter is opened, so that a new certificate of this node is used.

    Attributes:
        on_taken: called with the number of spans that have left the queue.
    """

    def __init__(self, open_exporter: Callable[[], SpanExporter]) -> None:
        self.on_taken: Callable[[int], None] = lambda _count: None
        self._open = open_exporter
        self._exporter = open_exporter()
        self._fails = False
        self._stopped = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        self.on_taken(len(spans))
        result = SpanExportResult.FAILURE
        with contextlib.suppress(Exception):
            if self._fails and not self._stopped:
                self._exporter.shutdown()
                self._exporter = self._open()
            result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        SPANS.labels("failed" if fails else "exported").inc(len(spans))
        if fails != self._fails:
            self._fails = fails
            if fails:
                _log.warning("the receiver of traces does not take spans; they are dropped")
            else:
                _log.info("the receiver of traces takes spans again")
        return result

    def shutdown(self) -> None:
        """End the connection. Exports fail from now on."""
        self._stopped = True
        self._exporter.shutdown()
