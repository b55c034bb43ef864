"""Starts processes for tests: commands, and `hutongd` as an operator sees it. None outlives its test."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil

from tests.support.preloaded import Fork, fork_hutongd
from tests.support.waiting import TIMEOUT_SECONDS

INSECURE = {"HUTONG_INSECURE": "1"}
"""Lets a server of tests serve loopback in plain text, where every caller may do everything.

A server that asks for certificates must not have it.
"""
PATIENT = {"HUTONG_SOURCE_SECONDS": f"{TIMEOUT_SECONDS:g}"}
"""Lets services wait for each other as long as tests wait for anything.

On a busy machine a source may take longer than the two seconds of the default, and its answers would be UNDETERMINED.
Tests of what happens then set a shorter time.
"""
_MARK = "TEST_PROCESS"
"""The variable that marks all descendants of this process, including orphans that have another parent by now."""


def mark_descendants() -> None:
    """Mark this process's environment, which every process that it starts inherits."""
    os.environ[_MARK] = str(os.getpid())


def descendants(of: int | None = None) -> list[psutil.Process]:
    """Return every other live descendant of a process, orphans too, except Python's resource tracker.

    The process is this one, or one that has called `mark_descendants`.
    """
    mark = str(of or os.getpid())
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid == os.getpid() or process.environ().get(_MARK) != mark:
                continue
            if process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(process.cmdline()):
                found.append(process)
    return found


@contextmanager
def _interruptible() -> Iterator[None]:
    """Restore SIGINT for children. A shell's background job ignores it, and its children inherit that."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a command in its own process group. The options are Popen's. The caller must call `end` for it."""
    with _interruptible():
        return subprocess.Popen(command, start_new_session=True, **options)


def end(process: subprocess.Popen[Any] | Fork) -> None:
    """Kill a command that `start` or `fork_hutongd` started and its whole process group, and close its pipes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a command until the block ends, then kill it. The options are Popen's."""
    process = start(command, **options)
    try:
        yield process
    finally:
        end(process)


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    given: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Return its output and its exit code. `given` is the text on its standard input."""
    pipe = subprocess.PIPE
    stdin = subprocess.DEVNULL if given is None else pipe
    with started(command, env=env, cwd=cwd, stdin=stdin, stdout=pipe, stderr=pipe, text=True) as process:
        out, err = process.communicate(given, timeout)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def environment(**variables: str) -> dict[str, str]:
    """Return the test's environment with only these HUTONG_ variables, named in lower case without the prefix.

    HUTONG_INSECURE is added unless the servers ask for certificates, and HUTONG_SOURCE_SECONDS as PATIENT says.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("HUTONG_")} | PATIENT
    if "tls_client_ca_file" not in variables:
        own |= INSECURE
    return own | {f"HUTONG_{name.upper()}": value for name, value in variables.items()}


def hutongd(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `hutongd` to its end."""
    with TemporaryFile("w+", encoding="utf-8") as out, TemporaryFile("w+", encoding="utf-8") as err:
        process = fork_hutongd(arguments, environment(**variables), stdout=out, stderr=err)
        try:
            code = process.wait(TIMEOUT_SECONDS)
        finally:
            end(process)
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(["hutongd", *arguments], code, out.read(), _without_complaints(err.read()))


def _without_complaints(said: str) -> str:
    """Return standard error up to the first complaint of multiprocessing's resource tracker.

    A forked process does not end its threads, so the resource tracker may print complaints at any time.
    """
    lines = said.splitlines(keepends=True)
    return "".join(itertools.takewhile(lambda line: "resource_tracker" not in line, lines))


class Daemon:
    """A running `hutongd`. Its log is read line by line."""

    def __init__(self, arguments: tuple[str, ...], env: Mapping[str, str]) -> None:
        self.process = fork_hutongd(arguments, env, stderr=subprocess.PIPE)
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

    def event(self, name: str, **fields: str) -> dict[str, Any]:
        """Wait for a line of the log with this event and these fields, and return it."""
        with self._grown:
            done = self._grown.wait_for(
                lambda: self._find(name, fields) is not None or self.process.poll() is not None, TIMEOUT_SECONDS
            )
            found = self._find(name, fields)
        assert done, f"no {name!r} in time:\n{''.join(self.log)}"
        assert found is not None, f"no {name!r} in the log:\n{''.join(self.log)}"
        return found

    def _find(self, name: str, fields: Mapping[str, str]) -> dict[str, Any] | None:
        for line in self.log:
            if line.startswith("{"):
                parsed: dict[str, Any] = json.loads(line)
                if parsed["event"] == name and fields.items() <= parsed.items():
                    return parsed
        return None

    @property
    def address(self) -> str:
        """The address on which it serves."""
        return f"127.0.0.1:{self.event('serving')['port']}"

    def terminate(self) -> int:
        """Send SIGTERM and wait until it ends. Return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(TIMEOUT_SECONDS)
        self._reader.join(TIMEOUT_SECONDS)
        return code

    def kill(self) -> None:
        """Kill it with SIGKILL if it still runs."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._reader.join(TIMEOUT_SECONDS)
        end(self.process)


@contextmanager
def daemon(*arguments: str, **variables: str) -> Iterator[Daemon]:
    """Run `hutongd` until the block ends, then kill it if it still runs."""
    running = Daemon(arguments, environment(**variables))
    try:
        yield running
    finally:
        running.kill()
