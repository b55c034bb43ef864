"""The horizon of retention. Results with an earlier reference time are removed. Reading or writing them is an error."""

from __future__ import annotations

from hutong_texts import english
from sqlalchemy import Connection, func, select

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.instant import Instant, format_instant
from services.results.records.tables import deletions

HORIZON = select(func.max(deletions.c.horizon))


def read_horizon(connection: Connection) -> Instant | None:
    """Return the instant before which nothing is kept, or None if retention has never removed anything."""
    return connection.execute(HORIZON).scalar()


def require_kept(connection: Connection, end: Instant | None) -> Instant | None:
    """Check that results before `end` may still be stored, and return the horizon. `end` None means now.

    Raises:
        FailedPrecondition: BEFORE_HORIZON, everything before the end was removed.
    """
    horizon = read_horizon(connection)
    if end is not None and horizon is not None and end <= horizon:
        raise removed(horizon)
    return horizon


def require_not_removed(connection: Connection, reference_time: Instant) -> None:
    """Check that a reference time is not before the horizon.

    Raises:
        FailedPrecondition: BEFORE_HORIZON, it is before the horizon.
    """
    horizon = read_horizon(connection)
    if horizon is not None and reference_time < horizon:
        raise removed(horizon)


def absent(name: str, horizon: Instant | None) -> NotFound:
    """Return the error for a report without a record.

    The error names the horizon, because retention may have removed the report.
    """
    if horizon is None:
        return NotFound.resource(name)
    since = format_instant(horizon)
    return NotFound(
        "NOT_FOUND",
        english("{name} is not known here; results reported before {since} were removed", name=name, since=since),
        metadata={"resource": name, "horizon": since},
    )


def removed(horizon: Instant) -> FailedPrecondition:
    """Return the error for a question about results that retention has removed."""
    since = format_instant(horizon)
    return FailedPrecondition(
        "BEFORE_HORIZON",
        english("results reported before {since} were removed", since=since),
        metadata={"horizon": since},
    )
