"""The servers of a Citus on this machine. Tests crash them and start them again."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from sqlalchemy import URL, make_url

from tests.support.citus import connect, find_workers, run_as_owner
from tests.support.databases import server_cpu_seconds
from tests.support.waiting import TIMEOUT_SECONDS, wait_until


@dataclass(frozen=True, slots=True)
class CitusNode:
    """One server: the coordinator or a worker.

    Attributes:
        url: its database.
        data: the folder of its data.
        program: the server's program.
    """

    url: URL
    data: Path
    program: Path

    def crash(self) -> None:
        """End the server at once, as a crash does, and wait until its processes have ended."""
        postmaster = self._postmaster()
        processes = [postmaster, *postmaster.children(recursive=True)]
        postmaster.send_signal(signal.SIGQUIT)
        psutil.wait_procs(processes, TIMEOUT_SECONDS)

    def crash_sessions(self) -> None:
        """Kill one session. The server then ends all sessions, and recovers by itself."""
        with connect(self.url) as connection:
            psutil.Process(connection.info.backend_pid).kill()

    def start(self) -> None:
        """Start the server after a crash, and wait until it accepts connections."""
        control: list[str | Path] = [
            self.program.with_name("pg_ctl"),
            "-D",
            self.data,
            "-l",
            self.data.with_suffix(".log"),
            "start",
        ]
        run_as_owner(control, self.data.parent)
        self.await_ready()

    def await_ready(self) -> None:
        """Wait until the server accepts connections."""
        wait_until(self._is_ready)

    def count_prepared(self) -> int:
        """Return how many prepared transactions the server has."""
        with connect(self.url) as connection:
            (count,) = connection.execute("SELECT count(*) FROM pg_prepared_xacts").fetchall()
        return int(count[0])

    def cpu_seconds(self) -> float:
        """Return the processor time that all processes of the server have used, also those that have ended."""
        return server_cpu_seconds(self._postmaster())

    def _is_ready(self) -> bool:
        try:
            connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    def _postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))


def find_nodes(url: str) -> list[CitusNode]:
    """Return the coordinator and its workers. They must run on this machine."""
    coordinator = make_url(url)
    nodes = []
    for node in (coordinator, *(coordinator.set(host=host, port=port) for host, port in find_workers(coordinator))):
        with connect(node) as connection:
            (row,) = connection.execute("SHOW data_directory").fetchall()
            program = psutil.Process(connection.info.backend_pid).exe()
        nodes.append(CitusNode(node, Path(row[0]), Path(program)))
    return nodes
