"""A fork server that starts `hutongd serve results` in a fraction of a second, any number of times.

It has imported everything and started nothing. Each service is a fork of it: a separate process that runs the same
command and can be killed, without the second of processor time for imports.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import environment, started
from tests.support.secrets import write_secret
from tests.support.waiting import TIMEOUT_SECONDS


class ForkServer:
    """Starts and kills a service. At most one service runs at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self) -> int:
        """Start the service. Return its process id without waiting until it serves."""
        return int(self._send_command("start"))

    def kill(self) -> None:
        """Send SIGKILL to the service and wait until it has ended."""
        assert self._send_command("kill") == "killed by 9"

    def _send_command(self, command: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


def service_variables(directory: Path, url: str, address: str) -> dict[str, str]:
    """Return the settings of the service."""
    pepper = write_secret(directory / "pepper-of-tests")
    return {
        "results_address": address,
        "results_database_url": url,
        "data_dir": str(directory),
        "pepper_file": str(pepper),
        "upload_workers": "0",
    }


@contextmanager
def fork_server(log: Path, **variables: str) -> Iterator[ForkServer]:
    """Run a fork server until the block ends. Its services log to a file, which must hold no error at the end."""
    with log.open("wb") as stderr:
        command, pipe = [sys.executable, "-m", "tests.support.fork_server"], subprocess.PIPE
        with started(
            command, env=environment(**variables), stdin=pipe, stdout=pipe, stderr=stderr, text=True
        ) as process:
            yield ForkServer(process)
            process.communicate(timeout=TIMEOUT_SECONDS)
    failures = [line for line in log.read_text().splitlines() if '"level":"error"' in line]
    assert not failures, "\n".join(failures)


def serve_commands() -> None:
    """Fork and kill services by the commands on standard input."""
    # Imported here, because the tests import this module too and would take as long.
    import alembic.command  # noqa: F401

    import services.__main__
    import services.results.main

    service = 0
    for command in sys.stdin:
        if command == "start\n":
            service = os.fork()
            if not service:
                sys.stdin.close()
                os._exit(services.__main__.run(["serve", "results"]))
            print(service, flush=True)
        else:
            print(end_service(service), flush=True)
            service = 0
    if service:
        end_service(service)


def end_service(service: int) -> str:
    """Kill a service. Return how it ended: by this signal, or before by itself."""
    os.kill(service, signal.SIGKILL)
    _, status = os.waitpid(service, 0)
    return (
        f"killed by {os.WTERMSIG(status)}"
        if os.WIFSIGNALED(status)
        else f"ended with {os.waitstatus_to_exitcode(status)}"
    )


if __name__ == "__main__":
    serve_commands()
