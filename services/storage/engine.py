"""A service's database. Plain functions over a connection run in bounded executors."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

import structlog
from hutong_texts import english
from sqlalchemy import Connection, Engine, exc, text

from services.domain.errors import ResourceExhausted
from services.domain.instant import SECOND
from services.runtime.audit import current_audit
from services.runtime.call import seconds_left
from services.runtime.tracing.spans import carried
from services.storage.connections import (
    BULK_READ_THREADS,
    POSTGRESQL_WRITE_THREADS,
    READ_THREADS,
    STATEMENT_MS,
    WRITE_OPTION,
    begin_transaction,
    create_reading_engine,
    create_service_engine,
    driver_args,
    is_incomplete,
)
from services.storage.distributed import unsettled
from services.storage.errors import BrokenOff, faults_named, not_migrated
from services.storage.lone_statements import LoneStatements
from services.storage.schema.fit import SchemaFit
from services.storage.schema.older import OlderSchema, fit_statements
from services.storage.statement_limits import TimeLimit, limited, limited_short

P = ParamSpec("P")
R = TypeVar("R")
_Limiting: TypeAlias = Callable[[Connection, TimeLimit], AbstractContextManager[None]]
"""Limits the statements on a connection."""

BULK_READS_WAITING = 32
"""The most reads of very many rows that run or wait in one process. Together they may take some seconds."""

_log = structlog.get_logger(__name__)

WRITE_TRIES = 5
"""How often a transaction is tried if the database breaks it off each time."""


class Database:
    """One service's database with its executors. Close it when the service stops.

    Attributes:
        engine: for writes and long reads.
        reading_engine: for `read`. On PostgreSQL it is in autocommit. On SQLite it is `engine`.
        written: an event that is set when a write of this process is durable. A reader that waits for new rows clears
            it.
    """

    def __init__(self, url: str, find_fit: Callable[[Connection], SchemaFit] | None = None) -> None:
        self.engine = create_service_engine(url)
        self._find_fit = find_fit
        self._fit = SchemaFit.CURRENT if find_fit is None else SchemaFit.UNFIT
        self._older_schema = OlderSchema()
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self.reading_engine = self.engine if self.is_sqlite else create_reading_engine(url)
        if not self.is_sqlite and find_fit is not None:
            for engine in (self.engine, self.reading_engine):
                fit_statements(engine, self._older_schema)
        write_threads = 1 if self.is_sqlite else POSTGRESQL_WRITE_THREADS
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="db-read")
        self._bulk_readers = ThreadPoolExecutor(BULK_READ_THREADS, thread_name_prefix="db-read-bulk")
        self._bulk_reads = 0
        self._writers = ThreadPoolExecutor(write_threads, thread_name_prefix="db-write")
        self._lone_statements = None if self.is_sqlite else LoneStatements(driver_args(url))
        self.written = asyncio.Event()

    async def read(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work(connection, ...)`, which only reads.

        If the server had closed the connection, `work` runs once more. On PostgreSQL each statement sees what was
        committed before it. On SQLite all statements see one state. If the caller's time is over before a thread is
        free, the work is dropped. A statement runs for five seconds at most.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, the database cannot be reached or took too long.
            DeadlineExceeded: DEADLINE, the caller's time was over.
        """
        limit = TimeLimit(time.monotonic() + seconds_left(math.inf))
        try:
            run = carried("database read", lambda: self._read_within(limited_short, limit, work, *args, **kwargs))
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        finally:
            limit.gone.set()

    async def read_in_bulk(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do as `read` does, for work that may read very many rows. Such reads run one after another.

        If the caller is gone before a thread is free, the work is dropped. A statement may run as long as its caller
        waits.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, the database cannot be reached.
            ResourceExhausted: OVERLOADED, too many such reads wait.
            DeadlineExceeded: DEADLINE, the caller's time was over.
        """
        if self._bulk_reads >= BULK_READS_WAITING:
            raise ResourceExhausted(
                "OVERLOADED",
                english("more reads of many rows wait than this process takes; try again"),
                metadata={"limit": str(BULK_READS_WAITING), "what": "reads of many rows"},
                retry_after=SECOND,
            )
        self._bulk_reads += 1
        limit = TimeLimit(time.monotonic() + seconds_left(STATEMENT_MS / 1000))
        try:
            run = carried("database bulk read", lambda: self._read_within(limited, limit, work, *args, **kwargs))
            return await asyncio.get_running_loop().run_in_executor(self._bulk_readers, run)
        finally:
            limit.gone.set()
            self._bulk_reads -= 1

    def _read_within(
        self,
        limiting: _Limiting,
        limit: TimeLimit,
        work: Callable[Concatenate[Connection, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        def run(connection: Connection) -> R:
            with limiting(connection, limit):
                return work(connection, *args, **kwargs)

        return self.read_now(run)

    async def write(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work(connection, ...)` in one write transaction, which is durable when this returns.

        Cancelling the caller does not stop the transaction. It still commits or rolls back as a whole.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE; the transaction may or may not have been committed.
        """
        # The copied context has the current call, so that the transaction can record the call in the audit.
        context = contextvars.copy_context()
        run = carried("database write", lambda: self.write_now(work, *args, **kwargs))
        done = await asyncio.get_running_loop().run_in_executor(self._writers, context.run, run)
        self.written.set()
        return done

    async def write_alone(self, statement: str, parameters: Sequence[int | str | bytes]) -> int:
        """Run one statement of PostgreSQL, which is durable when this returns. Return how many rows it changed.

        The statement names its parameters $1, $2 and so on. Running it takes one round trip and no change of thread,
        where `write` takes three round trips.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE; the statement may or may not have been committed.
        """
        assert self._lone_statements is not None
        with self._faults_named():
            rows = await self._lone_statements.run(statement, parameters)
        self.written.set()
        return rows

    async def read_alone(self, statement: str) -> list[list[bytes]]:
        """Run one query of PostgreSQL without parameters, as `write_alone` runs a statement.

        Return its rows, with values as PostgreSQL writes them, NULL as no bytes.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        assert self._lone_statements is not None
        with self._faults_named():
            return await self._lone_statements.read(statement)

    def read_now(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do as `read` does, in the calling thread."""
        with self._faults_named():
            try:
                return self._read_once(self.reading_engine, work, *args, **kwargs)
            except exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return self._read_once(self.reading_engine, work, *args, **kwargs)

    def read_long_now(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do as `read_now` does, in one transaction and without a second attempt, for reads of many rows."""
        with self._faults_named():
            return self._read_once(self.engine, work, *args, **kwargs)

    def write_now(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do as `write` does, in the calling thread.

        If two transactions wait for each other, the database breaks one of them off. That transaction is tried again.
        Therefore `work` must change nothing but the database.
        """
        audit = current_audit.get()
        is_recorded = audit is not None and audit.is_recorded
        for tries_left in reversed(range(WRITE_TRIES)):
            try:
                return self._write_once(work, *args, **kwargs)
            except BrokenOff:
                if not tries_left:
                    raise
                if audit is not None:
                    # The rows of the audit were rolled back too.
                    audit.is_recorded = is_recorded
        raise AssertionError("the last try returns or raises")

    def _write_once(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        option = {WRITE_OPTION: True}
        with self._faults_named(), self.engine.connect().execution_options(**option) as connection:
            with connection.begin():
                self._fit_statements(connection)
                done = work(connection, *args, **kwargs)
            if is_incomplete(connection):
                raise unsettled()
            return done

    def is_log_emptied_now(self, tries: int, pause: float) -> bool:
        """Copy SQLite's log into the database file and empty the log. Return False if readers prevented every attempt.

        Deleted bytes stay in the log until it is emptied. On PostgreSQL nothing needs to be done, and the answer is
        True.
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
    def hold(self) -> Iterator[Connection]:
        """Open a PostgreSQL transaction for locks that end with it. It lasts as long as the block and writes nothing.

        Locks of a session would be lost behind a pooler, which may give each transaction another session. While the
        transaction waits it keeps no snapshot, so that vacuum goes on.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, the database cannot be reached.
        """
        with contextlib.ExitStack() as opened:
            with self._faults_named():
                connection = opened.enter_context(self.reading_engine.connect())
                begin_transaction(connection)
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            try:
                yield connection
            finally:
                # The end of the transaction releases the locks. A broken connection has lost them already.
                with contextlib.suppress(exc.OperationalError, exc.InterfaceError):
                    connection.rollback()

    def _read_once(
        self, engine: Engine, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        with engine.connect() as connection:
            self._fit_statements(connection)
            # Reading the schema begins a transaction. `work` may begin another kind of transaction.
            connection.rollback()
            return work(connection, *args, **kwargs)

    @property
    def has_current_schema(self) -> bool:
        """Whether the database is known to have this version's schema, or a newer one."""
        return self._fit is SchemaFit.CURRENT

    def _fit_statements(self, connection: Connection) -> None:
        """Let the statements on a connection fit the database's schema.

        Until the schema is known to be current, each use of the database first reads which schema it has. The service
        therefore uses what a migration has added as soon as the migration has ended.
        """
        if not self.has_current_schema:
            self._note_fit(connection)
        if self._fit is SchemaFit.OLDER:
            # Statements compiled for this schema must not be used with the next schema.
            connection.execution_options(compiled_cache=None)

    def _note_fit(self, connection: Connection) -> None:
        if self._find_fit is None:
            return
        fit = self._find_fit(connection)
        if fit is SchemaFit.OLDER and self.is_sqlite:
            # The start has migrated the file. Another process must have migrated it down since.
            fit = SchemaFit.UNFIT
        if fit is SchemaFit.OLDER:
            self._older_schema.read(connection)
        else:
            self._older_schema.forget()
        if fit is not self._fit and fit is SchemaFit.OLDER:
            _log.warning("the database has the schema of the release before: run hutongd migrate")
        self._fit = fit

    async def check(self) -> None:
        """Check that the database answers and has a schema that this version can use.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, the database does not answer or has another schema.
        """
        if not await self.read(self._is_alive_and_fit):
            raise not_migrated()

    def _is_alive_and_fit(self, connection: Connection) -> bool:
        connection.execute(text("SELECT 1"))
        self._note_fit(connection)
        return self._fit is not SchemaFit.UNFIT

    def _faults_named(self) -> AbstractContextManager[None]:
        return faults_named(lacks_parts=lambda: not self.has_current_schema)

    def close(self) -> None:
        """Wait for running work, then close every connection."""
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._bulk_readers.shutdown(wait=True, cancel_futures=True)
        self._writers.shutdown(wait=True, cancel_futures=True)
        if self._lone_statements is not None:
            self._lone_statements.close()
        self.reading_engine.dispose()
        self.engine.dispose()


def open_database(url: str, find_fit: Callable[[Connection], SchemaFit] | None = None) -> Database:
    """Open a database by its SQLAlchemy URL: `sqlite:///path` or `postgresql://…`. It connects at the first use.

    `find_fit` returns how the schema fits this version of the service. The health check calls it.
    """
    return Database(url, find_fit)
