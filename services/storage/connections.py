"""Connections to the databases of the services, with the settings of each engine.

SQLite runs in WAL mode with full sync and one writer. Its write transactions begin with BEGIN IMMEDIATE. A write
transaction therefore takes the write lock at its beginning, and cannot fail for lack of the lock later. PostgreSQL runs
at READ COMMITTED, with as many writers as there are write threads.

A pooler may give each transaction another session of the server. Nothing is then set for a session: there are no
options at connect and no prepared statements. Writes and reads of many rows set what they need in their transactions.
Short reads have only the settings that the server has for the role.
"""

from __future__ import annotations

from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any
from urllib.parse import quote

from hutong_texts import english
from hutong_texts.system import system_text
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from services.runtime.configuration.variables import POOLER_OPTION, TRANSACTION_POOLER
from services.runtime.tracing.drivers import TracedSqliteConnection, connect_postgresql
from services.runtime.tracing.spans import is_tracing
from services.storage.errors import UnusableDatabase
from services.storage.life import begin_life

READ_THREADS = 4
"""The number of concurrent reads in one process. Further callers wait. Four are enough, because look-ups are coalesced.
"""
BULK_READ_THREADS = 1
"""The number of concurrent reads of very many rows in one process. Such reads have their own thread and connection, so
that no look-up waits for them. Two threads would hold the interpreter while they make rows. Look-ups at the same time
then took up to three times as long."""
POSTGRESQL_WRITE_THREADS = 8
"""The number of concurrent write transactions in one process on PostgreSQL."""
SQLITE_BUSY_MS = 10_000
"""How long a SQLite connection waits for another process's write lock, in milliseconds."""
CONNECT_SECONDS = 5
"""How long to wait until a PostgreSQL server accepts a connection, in seconds."""
STATEMENT_MS = 60_000
"""How long a service's PostgreSQL statement may run, in milliseconds. Short reads and migrations have their own limits.
"""
SHORT_READ_SECONDS = 5.0
"""How long a statement of a short read may run. A short read uses an index and takes milliseconds. The limit is set
when the connection is opened, so it costs no round trip."""
_LIBPQ = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "hutong",
    # If the machine of a server fails, the server sends nothing more. Without these options a connection would wait for
    # minutes.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""Options of libpq for every connection. `tcp_user_timeout` is in milliseconds, the others are in seconds."""
_CITUS = "hutong_citus"
_INCOMPLETE = "hutong_incomplete"
_FAILED_COMMIT = "failed to commit transaction on"
"""The beginning of the warning with which Citus reports that a machine was lost before it had committed. The commit
itself succeeds."""
WRITE_OPTION = "hutong_write"
"""The execution option of a connection on which write transactions begin."""


def make_directory(directory: Path) -> None:
    """Create the directory of a SQLite database. Raises UnusableDatabase if that fails."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableDatabase(
            english(
                "the directory of a SQLite database cannot be made: {directory}: {cause}; change HUTONG_DATA_DIR, or "
                "the owner and the permissions",
                directory=directory,
                cause=system_text(error),
            )
        ) from None


def create_service_engine(url: str) -> Engine:
    """Create an engine with the settings for its dialect."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise UnusableDatabase(english("a SQLite database needs a file: sqlite:///path"))
        make_directory(Path(parsed.database).absolute().parent)
        engine = create_engine(
            parsed,
            pool_size=READ_THREADS + BULK_READ_THREADS + 1,
            max_overflow=2,
            hide_parameters=True,
            execution_options=begin_life(),
            connect_args={"factory": TracedSqliteConnection} if is_tracing() else {},
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
    """Create an engine that only inspects a database.

    A SQLite database is opened read-only, so its file is neither created nor changed.
    """
    path = find_sqlite_file(url)
    if path is None:
        return create_service_engine(url)
    file = f"file:{quote(str(path.absolute()))}"
    return create_engine(URL.create("sqlite", database=file, query={"mode": "ro", "uri": "true"}), hide_parameters=True)


def is_pooled(url: URL) -> bool:
    """Return whether the URL says that a pooler gives each transaction another session of PostgreSQL."""
    return url.query.get(POOLER_OPTION) == TRANSACTION_POOLER


def create_reading_engine(url: str) -> Engine:
    """Create an engine for a service's short reads on PostgreSQL. Each short read uses an index.

    The engine runs in autocommit, which saves BEGIN and ROLLBACK. Sequential scans are off, because PostgreSQL keeps
    plans. A plan may be made while next month's partition is still empty. It would then scan that whole partition for
    each person, until the partition is analyzed again. Behind a pooler no plans are kept.
    """
    return _create_postgresql_engine(
        make_url(url),
        READ_THREADS + BULK_READ_THREADS,
        f"-c enable_seqscan=off -c statement_timeout={round(SHORT_READ_SECONDS * 1000)}",
        isolation_level="AUTOCOMMIT",
    )


def create_standby_engine(url: str) -> Engine:
    """Create an engine for short reads of a hot standby. The server may be promoted while the engine is in use."""
    return _create_postgresql_engine(
        make_url(url), READ_THREADS, "-c enable_seqscan=off", of_standby=True, isolation_level="AUTOCOMMIT"
    )


def begin_transaction(connection: Connection) -> None:
    """Let the next statements on a connection of a reading engine be one transaction.

    The transaction lasts until the connection returns to the pool.
    """
    connection.execution_options(isolation_level="READ COMMITTED")


def keep_one_state(connection: Connection) -> None:
    """Let the next statements of a new transaction see the database in one state. On SQLite all statements do."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def has_unlimited_reads(url: str) -> bool:
    """Return whether reads behind a pooler have no time limit.

    They have none if the role of the database has no statement_timeout.
    """
    if not is_pooled(make_url(url)):
        return False
    engine = create_reading_engine(url)
    try:
        with engine.connect() as connection:
            return bool(connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "0")
    finally:
        engine.dispose()


def _create_postgresql_engine(
    url: URL, connections: int, settings: str = "", *, of_standby: bool = False, **options: Any
) -> Engine:
    engine = create_engine(
        url.difference_update_query([POOLER_OPTION]),
        pool_size=connections,
        max_overflow=2,
        # Errors are logged with their text, which must not contain values of rows.
        hide_parameters=True,
        connect_args=_settings(url, settings, of_standby=of_standby),
        **options,
    )
    if is_tracing():
        event.listen(engine, "do_connect", connect_postgresql)
    event.listen(engine, "connect", _note_server if is_pooled(url) else _refuse_pooler)
    if is_pooled(url) and "isolation_level" not in options:
        event.listen(engine, "begin", _begin_pooled)
    return engine


def is_distributed(connection: Connection) -> bool:
    """Return whether PostgreSQL had the Citus extension when the connection was made. Return False on SQLite."""
    return bool(connection.info.get(_CITUS))


def is_incomplete(connection: Connection) -> bool:
    """Return whether a machine of Citus was lost before it had committed the connection's last transaction.

    That machine will commit later. Each loss is reported once. The next call returns False.
    """
    return bool(connection.info.pop(_INCOMPLETE, False))


def _note_incomplete(info: dict[Any, Any], warning: str) -> None:
    if warning.startswith(_FAILED_COMMIT):
        info[_INCOMPLETE] = True


def driver_args(url: str) -> dict[str, Any]:
    """Return the arguments for the driver to connect to PostgreSQL as an engine does."""
    parsed = make_url(url)
    bare = parsed.difference_update_query([POOLER_OPTION])
    _, named = bare.get_dialect()().create_connect_args(bare)
    return {**named, **_settings(parsed)}


def _settings(url: URL, more: str = "", *, of_standby: bool = False) -> dict[str, Any]:
    """Return the driver's settings of every connection to PostgreSQL, with `more` options of the server.

    Options of libpq in the URL take precedence, and so do the server's options that the URL gives by `options`. If the
    URL names several servers, the server that takes writes is used.
    """
    given = set(url.query)
    settings: dict[str, Any] = {name: value for name, value in _LIBPQ.items() if name not in given}
    if not of_standby and "target_session_attrs" not in given:
        settings["target_session_attrs"] = "read-write"
    if is_pooled(url):
        return {**settings, "prepare_threshold": None}
    # JIT compilation takes longer than any statement of the services, and a wrong estimate could start it.
    own = f"-c statement_timeout={STATEMENT_MS} -c timezone=UTC -c jit=off {more}"
    # Of an option that is given twice, PostgreSQL takes the last.
    return {**settings, "options": " ".join([own, *url.normalized_query.get("options", ())])}


def _begin_pooled(connection: Connection) -> None:
    connection.exec_driver_sql(
        f"SELECT set_config('statement_timeout', '{STATEMENT_MS}', true), set_config('jit', 'off', true)"
    )


def _note_server(connection: Any, entry: ConnectionPoolEntry) -> int:
    """Note whether the server has Citus. Return the process id of this session."""
    query = "SELECT pg_backend_pid(), to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
    process, entry.info[_CITUS] = connection.execute(query).fetchone()
    if entry.info[_CITUS]:
        connection.add_notice_handler(lambda notice: _note_incomplete(entry.info, notice.message_primary or ""))
    connection.rollback()
    return int(process)


def _refuse_pooler(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Refuse a pooler that the URL does not name. Prepared statements and settings would be lost between transactions.

    A pooler announces a process id for a connection that it has invented, because the connection belongs to no single
    process of the server. A pooler is therefore recognised by this id.
    """
    driver: Any = connection
    if _note_server(connection, entry) != driver.info.backend_pid:
        raise UnusableDatabase(
            english(
                "a pooler is between this process and PostgreSQL: add {option} to the URL of the database",
                option=f"{POOLER_OPTION}={TRANSACTION_POOLER}",
            )
        )


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    assert isinstance(connection, SqliteConnection)
    # The driver would begin transactions too late, and as DEFERRED. Therefore _begin_sqlite begins them.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {SQLITE_BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        # Deleted content is overwritten with zeros, so that nothing of it stays in the file. Uploads take some 3 %
        # longer.
        "secure_delete = ON",
        "cache_size = -65536",  # 64 MiB; the default of 2 MiB is too small for a day's uploads
        "temp_store = MEMORY",
        # 16,384 pages are 64 MiB of log. With the default of 4 MiB, SQLite would write the same busy pages back every
        # few batches.
        "wal_autocheckpoint = 16384",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options: dict[str, Any] = dict(connection.get_execution_options())
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITE_OPTION) else "BEGIN")
