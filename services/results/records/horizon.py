"""The horizon of retention: what was filed before it is gone, and whoever asks or writes there is told so."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from services.domain.errors import FailedPrecondition, NotFound
from services.domain.instant import Instant, format_instant
from services.results.records.tables import deletions

HORIZON = select(func.max(deletions.c.horizon))


def read_horizon(connection: Connection) -> Instant | None:
    """The instant before which nothing is kept; None while nothing was ever removed."""
    return connection.execute(HORIZON).scalar()


def require_kept(connection: Connection, end: Instant | None) -> Instant | None:
    """The horizon, for a question about times up to an end (None asks up to now) of which something may be kept.

    Raises:
        FailedPrecondition: BEFORE_HORIZON, everything before the end was removed.
    """
    horizon = read_horizon(connection)
    if end is not None and horizon is not None and end <= horizon:
        raise removed(horizon)
    return horizon


def require_not_removed(connection: Connection, reference_time: Instant) -> None:
    """Refuse to file anything where everything was removed.

    Raises:
        FailedPrecondition: BEFORE_HORIZON.
    """
    horizon = read_horizon(connection)
    if horizon is not None and reference_time < horizon:
        raise removed(horizon)


def absent(name: str, horizon: Instant | None) -> NotFound:
    """The error for a report that has no record here: it may have had one that retention has removed."""
    if horizon is None:
        return NotFound.resource(name)
    since = format_instant(horizon)
    return NotFound(
        "NOT_FOUND",
        f"{name} is not known here; results reported before {since} were removed",
        metadata={"resource": name, "horizon": since},
    )


def removed(horizon: Instant) -> FailedPrecondition:
    """The error for a question about what retention has removed."""
    since = format_instant(horizon)
    return FailedPrecondition(
        "BEFORE_HORIZON", f"results reported before {since} were removed", metadata={"horizon": since}
    )
