"""A database as the services see it: plain functions over a connection, run in bounded executors.

SQLite runs in WAL mode with full sync and one writer, whose transactions begin IMMEDIATE, so that a write never fails
half way for want of the lock. PostgreSQL runs at READ COMMITTED, with as many writers as there are write threads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg
import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from services.domain.errors import HutongError, Unavailable
from services.domain.instant import SECOND
from services.storage.errors import UnusableDatabase

P = ParamSpec("P")
R = TypeVar("R")

READ_THREADS = 4
"""Reads at once in one process; callers beyond wait. Look-ups are coalesced, so few suffice."""
POSTGRESQL_WRITE_THREADS = 8
"""Write transactions at once in one process on PostgreSQL."""
SQLITE_BUSY_MS = 10_000
"""How long a SQLite connection waits for another process's write lock, in milliseconds."""
CONNECT_SECONDS = 5
"""How long to wait for a PostgreSQL server to take a connection, in seconds."""
STATEMENT_MS = 60_000
"""The longest a PostgreSQL statement of a service may run, in milliseconds; migrations have limits of their own."""

_log = structlog.get_logger(__name__)

_WRITE = "hutong_write"
_UNREACHABLE = (
    exc.OperationalError,
    exc.InterfaceError,
    exc.TimeoutError,
    # COPY goes past SQLAlchemy and fails with the driver's own errors.
    psycopg.OperationalError,
    psycopg.InterfaceError,
)


class Database:
    """One service's database with its executors. Close it when the service stops.

    Attributes:
        engine: of all that writes, and of long reads.
        reading_engine: of `read`: on SQLite the same.
    """

    def __init__(self, url: str, is_current: Callable[[Connection], bool] | None = None) -> None:
        self.engine = create_service_engine(url)
        self._is_current = is_current
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self.reading_engine = self.engine if self.is_sqlite else _create_reading_engine(url)
        write_threads = 1 if self.is_sqlite else POSTGRESQL_WRITE_THREADS
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="db-read")
        self._writers = ThreadPoolExecutor(write_threads, thread_name_prefix="db-write")
        # Set whenever a write of this process is durable; whoever waits for news clears it.
        self.written = asyncio.Event()

    async def read(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work(connection, ...)`, which only reads; once more when the server had closed an idle connection.

        On PostgreSQL each statement sees what was committed before it; on SQLite all of them see one state.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, the database cannot be reached.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, lambda: self.read_now(work, *args, **kwargs)
        )

    async def write(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work(connection, ...)` in one write transaction, durable when this returns.

        A caller that is cancelled meanwhile does not stop the transaction: it ends as a whole, one way or the other.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE; the transaction may or may not have been committed.
        """
        done = await asyncio.get_running_loop().run_in_executor(
            self._writers, lambda: self.write_now(work, *args, **kwargs)
        )
        self.written.set()
        return done

    def read_now(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As `read`, in the calling thread."""
        try:
            try:
                return self._read_once(work, *args, **kwargs)
            except exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return self._read_once(work, *args, **kwargs)
        except _UNREACHABLE as error:
            raise _unavailable(error) from error

    def read_long_now(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As `read_now`, in one transaction and without a second try: for reads that go through many rows."""
        try:
            with self.engine.connect() as connection:
                return work(connection, *args, **kwargs)
        except _UNREACHABLE as error:
            raise _unavailable(error) from error

    def write_now(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As `write`, in the calling thread."""
        try:
            with self.engine.connect().execution_options(**{_WRITE: True}) as connection, connection.begin():
                return work(connection, *args, **kwargs)
        except _UNREACHABLE as error:
            raise _unavailable(error) from error

    @contextlib.contextmanager
    def session(self) -> Iterator[Connection]:
        """A PostgreSQL session outside any transaction, for what ends with it; Unavailable when there is none."""
        try:
            connection = self.reading_engine.connect()
        except _UNREACHABLE as error:
            raise _unavailable(error) from error
        try:
            yield connection
        finally:
            # Not given back to the pool: it ends here.
            connection.invalidate()
            connection.close()

    def _read_once(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        with self.reading_engine.connect() as connection:
            return work(connection, *args, **kwargs)

    async def check(self) -> None:
        """Ask the database for a sign of life and for its schema; Unavailable when either is not as it must be."""
        if not await self.read(self._is_alive_and_current):
            raise Unavailable("DATABASE_UNAVAILABLE", "the database is not at this version's schema: hutongd migrate")

    def _is_alive_and_current(self, connection: Connection) -> bool:
        connection.execute(text("SELECT 1"))
        return self._is_current is None or self._is_current(connection)

    def close(self) -> None:
        """Let running work end, then close every connection."""
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._writers.shutdown(wait=True, cancel_futures=True)
        self.reading_engine.dispose()
        self.engine.dispose()


def _unavailable(error: Exception) -> HutongError:
    """The error for a database that cannot be reached; the cause goes to the log alone."""
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    _log.warning("database unavailable", error=type(cause).__name__, text=str(cause).strip())
    return Unavailable(
        "DATABASE_UNAVAILABLE", "the service's database cannot be reached; try again", retry_after=2 * SECOND
    )


def open_database(url: str, is_current: Callable[[Connection], bool] | None = None) -> Database:
    """Open a database by its SQLAlchemy URL: `sqlite:///path` or `postgresql://…`. Connects only when first used.

    `is_current` says whether the schema is the one the service was written for; health asks it.
    """
    return Database(url, is_current)


def make_directory(directory: Path) -> None:
    """Make the directory of a SQLite database; UnusableDatabase where it cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableDatabase(f"the directory of a SQLite database cannot be made: {error.strerror}") from None


def create_service_engine(url: str) -> Engine:
    """An engine with the settings of its dialect."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise UnusableDatabase("a SQLite database needs a file: sqlite:///path")
        make_directory(Path(parsed.database).absolute().parent)
        engine = create_engine(parsed, pool_size=READ_THREADS + 1, max_overflow=2, hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return _create_postgresql_engine(parsed, POSTGRESQL_WRITE_THREADS)


def _create_reading_engine(url: str) -> Engine:
    """An engine for the short reads of a service on PostgreSQL, each of which goes by an index.

    Its statements stand alone, without BEGIN and ROLLBACK. Plans are kept, and one that was made while next month's
    partition stood empty, and was known to be, would read all of that month for each person until it is analyzed again.
    """
    return _create_postgresql_engine(make_url(url), READ_THREADS, "-c enable_seqscan=off", isolation_level="AUTOCOMMIT")


def _create_postgresql_engine(url: URL, connections: int, settings: str = "", **options: Any) -> Engine:
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=2,
        # An error's text goes to the log, and what a row holds does not.
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "hutong",
            # Compiling takes longer than any statement of a service, and is begun for estimates alone.
            "options": f"-c statement_timeout={STATEMENT_MS} -c timezone=UTC -c jit=off {settings}",
        },
        **options,
    )


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    assert isinstance(connection, SqliteConnection)
    # The driver's own transaction control begins too late and deferred; ours is in _begin_sqlite.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {SQLITE_BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "cache_size = -65536",  # 64 MiB; the default of 2 MiB thrashes on a day's uploads
        "temp_store = MEMORY",
        # A checkpoint every 64 MiB of log: the default of 4 MiB writes the same hot pages back with every few batches.
        "wal_autocheckpoint = 16384",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options: dict[str, Any] = dict(connection.get_execution_options())
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITE) else "BEGIN")
