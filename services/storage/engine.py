"""A service's database: plain functions over a connection, run in bounded executors.

SQLite runs in WAL mode with full sync and one writer. Its write transactions begin IMMEDIATE, so that none fails half
way because another holds the lock. PostgreSQL runs at READ COMMITTED, with as many writers as there are write threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

import psycopg
import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from services.domain.errors import HutongError, Unavailable
from services.domain.instant import SECOND
from services.storage.errors import UnusableDatabase
from services.storage.life import begin_life
from services.storage.lone_statements import LoneStatements

P = ParamSpec("P")
R = TypeVar("R")

READ_THREADS = 4
"""Concurrent reads in one process; further callers wait. Few are enough because look-ups are coalesced."""
POSTGRESQL_WRITE_THREADS = 8
"""Concurrent write transactions in one process on PostgreSQL."""
SQLITE_BUSY_MS = 10_000
"""How long a SQLite connection waits for another process's write lock, in milliseconds."""
CONNECT_SECONDS = 5
"""How long to wait until a PostgreSQL server accepts a connection, in seconds."""
STATEMENT_MS = 60_000
"""The longest a service's PostgreSQL statement may run, in milliseconds. Migrations have their own limits."""

_log = structlog.get_logger(__name__)

_WRITE = "hutong_write"
_UNREACHABLE = (
    exc.OperationalError,
    exc.InterfaceError,
    exc.TimeoutError,
    # COPY bypasses SQLAlchemy, so it raises the driver's own errors.
    psycopg.OperationalError,
    psycopg.InterfaceError,
)


class Database:
    """One service's database with its executors. Close it when the service stops.

    Attributes:
        engine: for writes and long reads.
        reading_engine: for `read`, on PostgreSQL in autocommit; on SQLite the same engine.
        written: set when a write of this process is durable; a reader that waits for new rows clears it.
    """

    def __init__(self, url: str, is_current: Callable[[Connection], bool] | None = None) -> None:
        self.engine = create_service_engine(url)
        self._is_current = is_current
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self.reading_engine = self.engine if self.is_sqlite else _create_reading_engine(url)
        write_threads = 1 if self.is_sqlite else POSTGRESQL_WRITE_THREADS
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="db-read")
        self._writers = ThreadPoolExecutor(write_threads, thread_name_prefix="db-write")
        self._lone_statements = None if self.is_sqlite else LoneStatements(_driver_args(self.engine))
        self.written = asyncio.Event()

    async def read(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work(connection, ...)`, which only reads. `work` runs once more if the server had closed the connection.

        On PostgreSQL each statement sees what was committed before it. On SQLite all statements see one state.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, the database cannot be reached.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, lambda: self.read_now(work, *args, **kwargs)
        )

    async def write(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work(connection, ...)` in one write transaction, which is durable when this returns.

        Cancelling the caller does not stop the transaction: it still commits or rolls back as a whole.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE; the transaction may or may not have been committed.
        """
        # The copied context holds the current call, so that the transaction can record the call in the audit.
        context = contextvars.copy_context()
        done = await asyncio.get_running_loop().run_in_executor(
            self._writers, context.run, lambda: self.write_now(work, *args, **kwargs)
        )
        self.written.set()
        return done

    async def write_alone(self, statement: str, parameters: Sequence[Any]) -> int:
        """Run one statement of PostgreSQL, which is durable when this returns. Return how many rows it changed.

        It takes one round trip, where `write` takes three, and no change of thread.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE; the statement may or may not have been committed.
        """
        assert self._lone_statements is not None
        try:
            rows = await self._lone_statements.run(statement, parameters)
        except _UNREACHABLE as error:
            raise _unavailable(error) from error
        self.written.set()
        return rows

    def read_now(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do as `read` does, in the calling thread."""
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
        """Do as `read_now` does, in one transaction and without a second attempt, for reads of many rows."""
        try:
            with self.engine.connect() as connection:
                return work(connection, *args, **kwargs)
        except _UNREACHABLE as error:
            raise _unavailable(error) from error

    def write_now(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do as `write` does, in the calling thread."""
        try:
            with self.engine.connect().execution_options(**{_WRITE: True}) as connection, connection.begin():
                return work(connection, *args, **kwargs)
        except _UNREACHABLE as error:
            raise _unavailable(error) from error

    def is_log_emptied_now(self, tries: int, pause: float) -> bool:
        """Copy SQLite's log into the database file and empty the log. Return False if a reader prevented every try.

        Deleted bytes stay in the log until it is emptied. PostgreSQL has no such log, so the answer is True.
        """
        if not self.is_sqlite:
            return True
        for attempt in range(tries):
            if attempt:
                time.sleep(pause)
            # SQLite refuses this statement inside a transaction, and SQLAlchemy would begin one.
            connection = self.engine.raw_connection()
            try:
                (is_busy, *_) = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.close()
            if not is_busy:
                return True
        return False

    @contextlib.contextmanager
    def session(self) -> Iterator[Connection]:
        """Open a PostgreSQL session outside any transaction, for locks that end with it.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, the database cannot be reached.
        """
        try:
            connection = self.reading_engine.connect()
        except _UNREACHABLE as error:
            raise _unavailable(error) from error
        try:
            yield connection
        finally:
            # The session must end, because its locks end with it. The connection therefore does not return to the pool.
            connection.invalidate()
            connection.close()

    def _read_once(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        with self.reading_engine.connect() as connection:
            return work(connection, *args, **kwargs)

    async def check(self) -> None:
        """Check that the database answers and has this version's schema.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, the database does not answer or has another schema.
        """
        if not await self.read(self._is_alive_and_current):
            raise Unavailable("DATABASE_UNAVAILABLE", "the database is not at this version's schema: hutongd migrate")

    def _is_alive_and_current(self, connection: Connection) -> bool:
        connection.execute(text("SELECT 1"))
        return self._is_current is None or self._is_current(connection)

    def close(self) -> None:
        """Wait for running work, then close every connection."""
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._writers.shutdown(wait=True, cancel_futures=True)
        if self._lone_statements is not None:
            self._lone_statements.close()
        self.reading_engine.dispose()
        self.engine.dispose()


def _unavailable(error: Exception) -> HutongError:
    """Return the error for a database that cannot be reached. The cause is logged and not sent to the caller."""
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    _log.warning("database unavailable", error=type(cause).__name__, text=str(cause).strip())
    return Unavailable(
        "DATABASE_UNAVAILABLE", "the service's database cannot be reached; try again", retry_after=2 * SECOND
    )


def open_database(url: str, is_current: Callable[[Connection], bool] | None = None) -> Database:
    """Open a database by its SQLAlchemy URL: `sqlite:///path` or `postgresql://…`. It connects when it is first used.

    `is_current` says whether the schema is the one that this version of the service needs. The health check calls it.
    """
    return Database(url, is_current)


def make_directory(directory: Path) -> None:
    """Create the directory of a SQLite database; UnusableDatabase if that fails."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableDatabase(
            f"the directory of a SQLite database cannot be made: {directory}: {error.strerror}"
        ) from None


def create_service_engine(url: str) -> Engine:
    """Create an engine with the settings for its dialect."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise UnusableDatabase("a SQLite database needs a file: sqlite:///path")
        make_directory(Path(parsed.database).absolute().parent)
        engine = create_engine(
            parsed,
            pool_size=READ_THREADS + 1,
            max_overflow=2,
            hide_parameters=True,
            execution_options=begin_life(),
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return _create_postgresql_engine(parsed, POSTGRESQL_WRITE_THREADS)


def find_sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite database, whether it exists or not; None for a database server."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def create_inspecting_engine(url: str) -> Engine:
    """Create an engine that only inspects a database. On SQLite it creates no file and changes no mode."""
    path = find_sqlite_file(url)
    if path is None:
        return create_service_engine(url)
    file = f"file:{quote(str(path.absolute()))}"
    return create_engine(URL.create("sqlite", database=file, query={"mode": "ro", "uri": "true"}), hide_parameters=True)


def _create_reading_engine(url: str) -> Engine:
    """Create an engine for a service's short reads on PostgreSQL, each of which uses an index.

    It runs in autocommit, which saves BEGIN and ROLLBACK. Sequential scans are off, because PostgreSQL keeps plans. A
    plan that was made while next month's partition was known to be empty would later scan that whole partition for each
    person, until the partition is analyzed again.
    """
    return _create_postgresql_engine(make_url(url), READ_THREADS, "-c enable_seqscan=off", isolation_level="AUTOCOMMIT")


def _create_postgresql_engine(url: URL, connections: int, settings: str = "", **options: Any) -> Engine:
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=2,
        # Errors are logged with their text, which must not contain row values.
        hide_parameters=True,
        connect_args=_settings(settings),
        **options,
    )


def _driver_args(engine: Engine) -> dict[str, Any]:
    """Return the arguments with which a PostgreSQL engine calls its driver."""
    _, named = engine.dialect.create_connect_args(engine.url)
    return {**named, **_settings()}


def _settings(more: str = "") -> dict[str, Any]:
    """Return the driver's settings of every connection to PostgreSQL, with `more` options of the server."""
    return {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "hutong",
        # JIT compilation takes longer than any of the services' statements, and a wrong estimate can start it.
        "options": f"-c statement_timeout={STATEMENT_MS} -c timezone=UTC -c jit=off {more}",
    }


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    assert isinstance(connection, SqliteConnection)
    # The driver itself would begin transactions too late and as DEFERRED; _begin_sqlite begins them instead.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {SQLITE_BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        # Deleted content is overwritten with zeros, so that nothing of it stays in the file. An upload takes some 3 %
        # longer.
        "secure_delete = ON",
        "cache_size = -65536",  # 64 MiB; the default of 2 MiB is too small for a day's uploads
        "temp_store = MEMORY",
        # 16,384 pages are 64 MiB of log. With the default of 4 MiB, SQLite would write the same hot pages back every
        # few batches.
        "wal_autocheckpoint = 16384",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options: dict[str, Any] = dict(connection.get_execution_options())
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITE) else "BEGIN")
