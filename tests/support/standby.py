"""PostgreSQL servers that are made by copying another one, and may replicate from it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg
from sqlalchemy import make_url

from tests.support.databases import PostgresServer
from tests.support.processes import end, run, start
from tests.support.waiting import TIMEOUT_SECONDS, wait_until

USER = "pgserver"
"""The user that runs the wheel's servers if the tests run as root."""
AS_POSTGRES = ["setpriv", f"--reuid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
"""The words before a command with which the server's user runs it."""
FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB", "wal_receiver_timeout": "5s"}


class CopiedServer:
    """A server on a copy of another server's data, which may follow the other server as a hot standby.

    Attributes:
        programs: the folder of PostgreSQL's programs.
        socket: the folder of the server's socket, which is its host in a URL.
        data: the folder of its data.
        settings: what differs from the settings of all such servers.
        address: the host:port at which it listens; empty if it has the socket alone.
    """

    def __init__(self, programs: Path, source: str, folder: Path, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.programs = programs
        self.socket = folder / name
        # The copy has the lock of the first server's socket if that one is in its data folder.
        self.data = folder / f"{name}-data"
        self.settings: dict[str, str] = {}
        self._source = source
        self._port = address.rpartition(":")[2] or "5432"
        self._process: subprocess.Popen[Any] | None = None
        self.socket.mkdir(mode=0o777)
        self.socket.chmod(0o777)

    def make(self, *, follows: bool) -> None:
        """Copy the data and start the server."""
        options = ["-R"] if follows else []
        _back_up(self.programs, self._source, self.data, self.name, *options)
        self.start()

    @property
    def conninfo(self) -> str:
        """Where PostgreSQL's programs connect to it."""
        return f"host={self.socket} port={self._port}"

    def restore(self, base: Path, recovery: Mapping[str, str]) -> None:
        """Replace the data of the stopped server by a base backup, and start it with these settings of the recovery."""
        shutil.rmtree(self.data)
        base.rename(self.data)
        signal_file = self.data / "recovery.signal"
        signal_file.touch()
        if os.geteuid() == 0:
            shutil.chown(signal_file, USER)
        self.settings |= recovery
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {**FAST, **self.settings, "unix_socket_directories": str(self.socket), "port": self._port}
        settings["listen_addresses"] = self.address.rpartition(":")[0]
        command = [str(self.programs / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.data.parent / f"{self.name}.log").open("ab") as log:
            self._process = start([*AS_POSTGRES, *command], cwd=self.data.parent, stdout=log, stderr=log)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def ask(self, query: str, database: str = "postgres") -> Any:
        """Return the one value of a query; None for a statement without an answer."""
        with psycopg.connect(self.conninfo, user="postgres", dbname=database, autocommit=True) as connection:
            cursor = connection.execute(query)  # type: ignore[call-overload]
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def follow(self, steps: str) -> str:
        """Run the steps of a page as the server's user. Return what they print."""
        variables = {**os.environ, "PGHOST": str(self.socket), "PGPORT": self._port, "PGUSER": "postgres"}
        variables["PATH"] = f"{self.programs}:{os.environ['PATH']}"
        done = run([*AS_POSTGRES, "sh", "-ec", steps], env=variables, cwd=self.data.parent)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def url(self, database_url: str) -> str:
        """Return the URL of this server's copy of a database."""
        here = {"host": str(self.socket), **({"port": self._port} if self.address else {})}
        return make_url(database_url).set(query=here).render_as_string(hide_password=False)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server's processes. Each of them has a process group of its own."""
        assert self._process is not None
        # The first process starts all others. Once it is stopped, no process is added.
        first = psutil.Process(self._process.pid)
        first.send_signal(number)
        for process in first.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """Kill the server and all of its processes."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def stop(self) -> None:
        """Stop the server as an operator would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(TIMEOUT_SECONDS)
        self.kill()


@contextlib.contextmanager
def standby_folder() -> Iterator[Path]:
    """A folder of the user that runs the servers. Its path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="hutong-test-") as name:
        if os.geteuid() == 0:
            os.chown(name, pwd.getpwnam(USER).pw_uid, -1)
        yield Path(name).resolve()


@contextlib.contextmanager
def copied(
    server: PostgresServer | CopiedServer,
    folder: Path,
    name: str,
    *,
    follows: bool,
    settings: Mapping[str, str] | None = None,
    address: str = "",
) -> Iterator[CopiedServer]:
    """Run a copy of a server until the block ends."""
    if isinstance(server, CopiedServer):
        programs, source = server.programs, server.conninfo
    else:
        programs, source = server.server.bin_path, f"host={make_url(server.url).query['host']}"
    made = CopiedServer(programs, source, folder, name, address)
    made.settings |= settings or {}
    try:
        made.make(follows=follows)
        yield made
    finally:
        made.kill()


def copy_data(server: CopiedServer, to: Path) -> Path:
    """Make a base backup of a running server. Return its folder."""
    _back_up(server.programs, server.conninfo, to, "backup")
    return to


def _back_up(programs: Path, source: str, to: Path, name: str, *options: str) -> None:
    conninfo = f"{source} user=postgres application_name={name}"
    command = [str(programs / "pg_basebackup"), "-D", str(to), "-d", conninfo, "-c", "fast", *options]
    done = run([*AS_POSTGRES, *command], cwd=to.parent)
    assert done.returncode == 0, done.stderr
