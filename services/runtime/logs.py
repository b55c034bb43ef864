"""Structured logs on standard error, one JSON object on each line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import orjson
import structlog
from structlog.processors import format_exc_info
from structlog.typing import EventDict, WrappedLogger


def configure_logs(level: str, worker: int = 0, more: Callable[[], Mapping[str, str]] = dict) -> None:
    """Write structlog's events of `level` and above to standard error as JSON, and the libraries' warnings as text.

    Each line of a worker process has the number of the worker. `more` returns further fields of a line.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[_add_fields(worker, more)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    # Alembic and grpc log through the standard library. Below warnings, their lines are of no use to operators.
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("grpc._cython.cygrpc").addFilter(is_worth_a_line)


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Return False for the traceback that gRPC logs if the connection of a call ends before the answer.

    Otherwise each caller that breaks off its connection would write 20 lines to the log.
    """
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__name__ != "ExecuteBatchError"


def _add_fields(worker: int, more: Callable[[], Mapping[str, str]]) -> Callable[[WrappedLogger, str, EventDict], bytes]:
    def render(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        if worker:
            event.setdefault("worker", worker)
        for name, value in more().items():
            event.setdefault(name, value)
        return _render(logger, method, event)

    return render


def _render(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    """Render an event with its level and time. This is a single processor, because every call writes a line."""
    if event.get("exc_info"):
        event = format_exc_info(logger, method, event)
    event["level"] = method
    event["timestamp"] = datetime.now(UTC)
    return orjson.dumps(event, default=str, option=orjson.OPT_UTC_Z)
