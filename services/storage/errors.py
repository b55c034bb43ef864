"""Errors of a database. Those that a caller can do something about become errors of the contract."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import psycopg
import structlog
from hutong_texts import Text, english
from sqlalchemy import exc

from services.domain.errors import InvalidArgument, Unavailable
from services.domain.instant import SECOND

_log = structlog.get_logger(__name__)

_UNREACHABLE = (
    exc.OperationalError,
    exc.InterfaceError,
    exc.TimeoutError,
    # COPY bypasses SQLAlchemy, so it raises the driver's own errors.
    psycopg.OperationalError,
    psycopg.InterfaceError,
)
_BROKEN_OFF = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
_UNDEFINED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)
_UNFIT = (exc.DataError, psycopg.DataError)
_INTERNAL = (exc.InternalError, psycopg.InternalError)
_INTERRUPTED = "interrupted"
"""The text by which SQLite reports a statement that took too long."""
_WORKER_IS_LOST = (
    "failure on connection",
    "connection to the remote node",
    "connection not open",
    "server closed the connection",
    "could not receive data from server",
    "could not send data to server",
)
"""Texts by which Citus, or libpq within it, reports that a worker was lost. That error has no class of its own."""


class UnusableDatabase(ValueError):
    """A file or URL that is not a usable database, or a database of a newer version.

    Only the operator can mend this.
    """

    def __init__(self, text: Text) -> None:
        super().__init__(text)
        self.text = text


class BrokenOff(Unavailable):
    """The database rolled a transaction back, because it and another transaction waited for each other."""

    def __init__(self) -> None:
        super().__init__(
            "DATABASE_UNAVAILABLE", english("the database broke off a transaction in favour of another; try again")
        )


@contextlib.contextmanager
def faults_named(*, lacks_parts: Callable[[], bool]) -> Iterator[None]:
    """Replace errors of the block by errors of the contract where the caller can do something about them.

    `lacks_parts` says whether the database may lack tables or columns, because it is not migrated yet.

    Raises:
        BrokenOff: the transaction was rolled back in favour of another.
        Unavailable: DATABASE_UNAVAILABLE, the database cannot be reached or took too long, a worker of Citus was lost,
            or a table or column is missing because the database is not migrated yet.
        InvalidArgument: INVALID_FIELD, a text has a NUL character, which PostgreSQL does not store.
    """
    try:
        yield
    except _UNREACHABLE as error:
        if is_broken_off(error):
            raise BrokenOff from error
        raise _unavailable(error) from error
    except _INTERNAL as error:
        if not _is_worker_lost(error):
            raise
        raise _unavailable(error) from error
    except (exc.ProgrammingError, psycopg.ProgrammingError) as error:
        if not isinstance(_cause_of(error), _UNDEFINED) or not lacks_parts():
            raise
        raise not_migrated() from error
    except _UNFIT as error:
        if not _holds_nul(error):
            raise
        raise InvalidArgument.field("", english("must not hold a NUL character")) from error


def not_migrated() -> Unavailable:
    """Return the error for a database that lacks this version's schema."""
    return Unavailable("DATABASE_UNAVAILABLE", english("the database is not at this version's schema: hutongd migrate"))


def is_broken_off(error: Exception) -> bool:
    """Whether the database rolled a transaction back, because it and another transaction waited for each other."""
    return isinstance(_cause_of(error), _BROKEN_OFF)


def _unavailable(error: Exception) -> Unavailable:
    """Return the error for a database that does not answer in time. The cause is logged, but not sent to the caller."""
    cause = _cause_of(error)
    _log.warning("database unavailable", error=type(cause).__name__, text=str(cause).strip())
    if isinstance(cause, psycopg.errors.QueryCanceled) or str(cause) == _INTERRUPTED:
        text = english("the service's database took too long; try again")
    else:
        text = english("the service's database cannot be reached; try again")
    return Unavailable("DATABASE_UNAVAILABLE", text, retry_after=2 * SECOND)


def _is_worker_lost(error: Exception) -> bool:
    """Return whether an internal error says that Citus has lost a worker."""
    cause = str(_cause_of(error))
    return any(text in cause for text in _WORKER_IS_LOST)


def _holds_nul(error: Exception) -> bool:
    """Whether PostgreSQL was given a text with a NUL character. Such a text can only come from a request."""
    return "NUL (0x00)" in str(error)


def _cause_of(error: Exception) -> BaseException:
    """Return the driver's own error."""
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
