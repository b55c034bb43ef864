"""A process that brings up `hutongd serve results` in a fraction of a second, as often as it is told to.

It has imported everything and started nothing, so each service is a fork of it: a process of its own, that runs the
same command, can be killed like any other, and has not spent a second of processor time on imports.
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
from tests.support.waiting import PATIENCE_SECONDS


class ForkServer:
    """Starts a service, and kills it. There is one at most."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self) -> int:
        """Start the service; its process id, at once."""
        return int(self._tell("start"))

    def kill(self) -> None:
        """SIGKILL to the service; returns when it is gone."""
        assert self._tell("kill") == "killed by 9"

    def _tell(self, command: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


def service_variables(directory: Path, url: str, address: str) -> dict[str, str]:
    """The settings of the service."""
    pepper = directory / "pepper-of-tests"
    pepper.write_bytes(b"p" * 32)
    return {
        "results_address": address,
        "results_database_url": url,
        "data_dir": str(directory),
        "pepper_file": str(pepper),
        "upload_workers": "0",
    }


@contextmanager
def fork_server(log: Path, **variables: str) -> Iterator[ForkServer]:
    """A fork server for as long as the block lasts; its services log to a file, which may hold no error."""
    with log.open("wb") as stderr:
        command, pipe = [sys.executable, "-m", "tests.support.fork_server"], subprocess.PIPE
        with started(
            command, env=environment(**variables), stdin=pipe, stdout=pipe, stderr=stderr, text=True
        ) as process:
            yield ForkServer(process)
            process.communicate(timeout=PATIENCE_SECONDS)
    failures = [line for line in log.read_text().splitlines() if '"level":"error"' in line]
    assert not failures, "\n".join(failures)


def serve_commands() -> None:
    """Fork and kill services as the commands on standard input say."""
    # Imported here and not above, where the tests would pay for it too.
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
    """Kill it and say how it ended: by this, or before by itself."""
    os.kill(service, signal.SIGKILL)
    _, status = os.waitpid(service, 0)
    return (
        f"killed by {os.WTERMSIG(status)}"
        if os.WIFSIGNALED(status)
        else f"ended with {os.waitstatus_to_exitcode(status)}"
    )


if __name__ == "__main__":
    serve_commands()
