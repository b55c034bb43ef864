"""A service of Results that a test kills and starts again, any number of times."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.preloaded import Fork, fork_hutongd
from tests.support.processes import end, environment
from tests.support.secrets import write_secret
from tests.support.waiting import TIMEOUT_SECONDS


class Restartable:
    """Starts and kills a service. At most one service runs at a time."""

    def __init__(self, variables: dict[str, str], log: IO[bytes]) -> None:
        self._variables = variables
        self._log = log
        self._service: Fork | None = None

    def start(self) -> int:
        """Start the service. Return its process id without waiting until it serves."""
        self._service = fork_hutongd(["serve", "results"], environment(**self._variables), stderr=self._log)
        return self._service.pid

    def kill(self) -> None:
        """Send SIGKILL to the service and wait until it has ended."""
        assert self._service is not None
        self._service.send_signal(signal.SIGKILL)
        assert self._service.wait(TIMEOUT_SECONDS) == -signal.SIGKILL
        self._service = None

    def close(self) -> None:
        """Kill the service if it runs."""
        if self._service is not None:
            end(self._service)


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
def restartable(log: Path, **variables: str) -> Iterator[Restartable]:
    """Start services until the block ends. They log to a file, which must hold no error at the end."""
    with log.open("wb") as stderr:
        server = Restartable(variables, stderr)
        try:
            yield server
        finally:
            server.close()
    failures = [line for line in log.read_text().splitlines() if '"level":"error"' in line]
    assert not failures, "\n".join(failures)
