"""`hutongd` as a process of its own, seen as an operator sees it: its log, its signals, its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PATIENCE_SECONDS = 30.0
"""How long a process may take to do what a test waits for, before the test fails."""


def environment(**variables: str) -> dict[str, str]:
    """The test's own environment without any HUTONG_ variable, and these, named in lower case without the prefix."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HUTONG_")}
    return own | {f"HUTONG_{name.upper()}": value for name, value in variables.items()}


def hutongd(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "services", *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


class Daemon:
    """A running `hutongd`, whose log is read line by line."""

    def __init__(self, arguments: tuple[str, ...], env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services", *arguments], env=env, stderr=subprocess.PIPE, text=True
        )
        self.log: list[str] = []
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._grown:
                self.log.append(line)
                self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()

    def event(self, name: str) -> dict[str, Any]:
        """Wait for a line of the log by its event."""
        with self._grown:
            done = self._grown.wait_for(
                lambda: self._find(name) is not None or self.process.poll() is not None, PATIENCE_SECONDS
            )
            found = self._find(name)
        assert done, f"nothing happened:\n{''.join(self.log)}"
        assert found is not None, f"no {name!r} in the log:\n{''.join(self.log)}"
        return found

    def _find(self, name: str) -> dict[str, Any] | None:
        for line in self.log:
            if line.startswith("{"):
                parsed: dict[str, Any] = json.loads(line)
                if parsed["event"] == name:
                    return parsed
        return None

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"127.0.0.1:{self.event('serving')['port']}"

    def terminate(self) -> int:
        """Send SIGTERM and wait for its end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code

    def kill(self) -> None:
        """End it as a power cut would, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stderr is not None:
            self._reader.join(PATIENCE_SECONDS)
            self.process.stderr.close()


@contextmanager
def daemon(*arguments: str, **variables: str) -> Iterator[Daemon]:
    """A running `hutongd` for as long as the block lasts; killed if it is still there after it."""
    running = Daemon(arguments, environment(**variables))
    try:
        yield running
    finally:
        running.kill()
