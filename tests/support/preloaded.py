"""Starts `hutongd` in a fraction of a second, by forking a process that has imported everything and started nothing.

Each fork is a separate process that runs the same command and can be killed, without the second of processor time for
imports. The forking process is started when it is first needed, one for each worker of pytest. It is the parent of its
forks, so it reports how each of them ended.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import IO, Any

from tests.support.waiting import TIMEOUT_SECONDS

_HEADER_BYTES = 8
"""The length of a request's size, which is sent before the request."""


class Fork:
    """A running `hutongd`, with the part of Popen's interface that tests use."""

    stdin = stdout = None

    def __init__(self, pid: int, status: socket.socket, stderr: IO[str] | None) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stderr = stderr
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs."""
        if self._lock.acquire(blocking=False):
            try:
                if self.returncode is None and select.select([self._status], [], [], 0)[0]:
                    self._receive()
            finally:
                self._lock.release()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended. Return its exit code; that of a signal is negative.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time.
        """
        with self._lock:
            if self.returncode is None:
                self._status.settimeout(timeout)
                try:
                    self._receive()
                except TimeoutError:
                    raise subprocess.TimeoutExpired("hutongd", timeout or 0.0) from None
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM, unless the process has ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)

    def _receive(self) -> None:
        self.returncode = int(self._status.recv(64) or b"-9")
        self._status.close()


class _Parent:
    """The forking process."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.support.preloaded"]
            self._process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, start_new_session=True)
        self._requests = ours
        self._lock = threading.Lock()

    def fork(self, arguments: Sequence[str], environment: Mapping[str, str], files: Sequence[int]) -> tuple[int, Any]:
        """Start `hutongd` with these files as its standard ones. Return its id, and where its exit code arrives."""
        # Each `recv` reads one message. A process may have ended before its id is read here.
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        request = json.dumps({"arguments": list(arguments), "environment": dict(environment), "directory": os.getcwd()})
        with theirs, self._lock:
            header = len(request.encode()).to_bytes(_HEADER_BYTES, "big")
            socket.send_fds(self._requests, [header], [theirs.fileno(), *files])
            self._requests.sendall(request.encode())
        return int(ours.recv(64)), ours

    def stop(self) -> None:
        self._requests.close()
        self._process.wait(TIMEOUT_SECONDS)


_parents: list[_Parent] = []
"""The forking process, once it is started."""
_starting = threading.Lock()


def fork_hutongd(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdout: int | IO[Any] = subprocess.DEVNULL,
    stderr: int | IO[Any] = subprocess.DEVNULL,
) -> Fork:
    """Start `hutongd` in its own process group, without standard input. `stderr` may be a PIPE of text."""
    with _starting:
        if not _parents:
            _parents.append(_Parent())
    read_end: IO[str] | None = None
    with open(os.devnull, "r+b") as nothing:
        if stderr == subprocess.PIPE:
            reader, writer = os.pipe()
            read_end = os.fdopen(reader, encoding="utf-8", errors="replace")
        else:
            writer = -1
        chosen = [nothing.fileno()]
        for one in (stdout, stderr):
            if isinstance(one, int):
                chosen.append(writer if one == subprocess.PIPE else nothing.fileno())
            else:
                chosen.append(one.fileno())
        try:
            pid, status = _parents[0].fork(arguments, environment, chosen)
        finally:
            if writer >= 0:
                os.close(writer)
    return Fork(pid, status, read_end)


def stop_forking() -> None:
    """End the forking process, if there is one. Its forks go on."""
    while _parents:
        _parents.pop().stop()


def _serve() -> None:
    """Fork for each request, and report the end of each fork, until the requests end."""
    # Imported here and not above, because every test that imports this module would wait for it.
    import alembic.command  # noqa: F401

    import services.__main__
    import services.policy.main
    import services.results.main
    import services.verification.main  # noqa: F401
    from services.runtime.tuning import freeze_heap

    # A fork that visited all these objects for garbage would copy the memory of each.
    freeze_heap()
    requests = socket.socket(fileno=os.dup(0))
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    forks: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                woken.recv(1024)
                _report_ended(forks)
            if requests in ready:
                header, files, _, _ = socket.recv_fds(requests, _HEADER_BYTES, 4)
                if not header:
                    return
                size, request = int.from_bytes(header, "big"), b""
                while len(request) < size:
                    request += requests.recv(size - len(request))
                pid = os.fork()
                if not pid:
                    for one in (requests, woken, waker, *forks.values()):
                        one.close()
                    os.close(files[0])
                    _become_hutongd(json.loads(request), files[1:])
                for file in files[1:]:
                    os.close(file)
                forks[pid] = socket.socket(fileno=files[0])
                forks[pid].sendall(str(pid).encode())


def _report_ended(forks: dict[int, socket.socket]) -> None:
    while forks:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with forks.pop(pid) as connection:
            try:
                connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            except OSError:
                # The test that started it has ended.
                continue


def _become_hutongd(request: dict[str, Any], files: list[int]) -> None:
    """Run the command and end the process."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Children of a shell's background job ignore SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        for target, file in enumerate(files):
            os.dup2(file, target)
            os.close(file)
        os.chdir(request["directory"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = ["hutongd", *request["arguments"]]
        from services.__main__ import run

        code = run(request["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except Exception:  # noqa: BLE001 - the end of the process, as Python's own
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
