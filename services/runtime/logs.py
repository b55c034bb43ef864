"""Structured logs: one JSON object a line on standard error."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson
import structlog
from structlog.processors import format_exc_info
from structlog.typing import EventDict, WrappedLogger


def configure_logs(level: str) -> None:
    """Send structlog's and the libraries' logs to standard error as JSON, from `level` on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[_render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    # Alembic and grpc speak through the standard library: warnings and worse are wanted, chatter is not.
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )


def _render(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    """One JSON object with level and time, in one step: there is a line for every call, so steps are counted."""
    if event.get("exc_info"):
        event = format_exc_info(logger, method, event)
    event["level"] = method
    event["timestamp"] = datetime.now(UTC)
    return orjson.dumps(event, default=str, option=orjson.OPT_UTC_Z)
