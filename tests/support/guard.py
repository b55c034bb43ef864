"""Ends what tests or a bench have started if pytest or the bench itself is killed.

pytest and the benches end the processes that they start. After a signal that ends them at once, their services and
PostgreSQL servers would run on for ever.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import psutil

from tests.support.processes import descendants, mark_descendants

_END_SECONDS = 10.0
"""How long processes may take to end by SIGTERM, before they are killed."""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """If this process ends within the block, end all its descendants."""
    mark_descendants()
    command = [sys.executable, "-m", "tests.support.guard", str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            yield
        finally:
            guard.kill()


def _guard(guarded_id: int) -> None:
    """Wait until a process has ended, which closes this process's standard input. Then end its descendants."""
    sys.stdin.buffer.read()
    left = descendants(guarded_id)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(left, _END_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == "__main__":
    _guard(int(sys.argv[1]))
