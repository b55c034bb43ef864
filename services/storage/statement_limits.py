"""Limits of statements. Work on a database ends when the time of its caller is over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from threading import Event

from hutong_texts import english
from sqlalchemy import Connection, exc

from services.domain.errors import DeadlineExceeded
from services.storage.connections import SHORT_READ_SECONDS, begin_transaction

SQLITE_STEPS = 10_000
"""How many steps of SQLite run between two looks at the clock. They take about a tenth of a millisecond."""


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The time that a caller has left.

    Attributes:
        end: when the time is over, by `time.monotonic`.
        gone: set when the caller no longer waits.
    """

    end: float
    gone: Event = field(default_factory=Event)

    @property
    def is_over(self) -> bool:
        """Whether the caller no longer waits for the work."""
        return self.gone.is_set() or time.monotonic() >= self.end

    def check(self) -> None:
        """Check that the caller still waits for the work. Raises DeadlineExceeded otherwise."""
        if self.is_over:
            raise DeadlineExceeded("DEADLINE", english("the call's time was over before the work was"))


@contextlib.contextmanager
def limited(connection: Connection, limit: TimeLimit) -> Iterator[None]:
    """End each statement in the block when the time is over.

    On SQLite a statement also ends when the caller is gone. On PostgreSQL the statements of the block are one
    transaction, and the limit ends with that transaction, because a pooler gives the session to other reads afterwards.
    The limit costs three more round trips, so it is for reads of many rows.

    Raises:
        DeadlineExceeded: the time was over.
    """
    limit.check()
    try:
        if connection.dialect.name == "sqlite":
            with _watched(connection, limit):
                yield
        else:
            begin_transaction(connection)
            milliseconds = max(1, round((limit.end - time.monotonic()) * 1000))
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
            yield
    except exc.OperationalError:
        limit.check()
        raise


@contextlib.contextmanager
def limited_short(connection: Connection, limit: TimeLimit, seconds: float = SHORT_READ_SECONDS) -> Iterator[None]:
    """End each statement of a short read after `seconds`.

    On SQLite a statement also ends when the time of its caller is over or the caller is gone. On PostgreSQL every
    connection for short reads already has a limit of SHORT_READ_SECONDS, which costs no round trip.

    Raises:
        DeadlineExceeded: the caller's time was over.
        OperationalError: a statement took too long, and the caller still waits.
    """
    limit.check()
    try:
        if connection.dialect.name == "sqlite":
            with _watched(connection, replace(limit, end=min(limit.end, time.monotonic() + seconds))):
                yield
        else:
            yield
    except exc.OperationalError:
        limit.check()
        raise


@contextlib.contextmanager
def _watched(connection: Connection, limit: TimeLimit) -> Iterator[None]:
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(lambda: limit.is_over, SQLITE_STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, SQLITE_STEPS)
