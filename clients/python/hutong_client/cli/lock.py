"""One process at a time: a lock that ends with the process that holds it, however it ends.

The package filelock differs in two ways: it leaves its file behind, and where the system call flock is missing its
marker outlives a killed process.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


class Locked(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock of this name; Locked when another process does. Its empty file is removed at the end.

    Without effect where the system or the file system has no flock.
    """
    if sys.platform == "win32":
        yield
        return
    handle = _open_locked(path)
    try:
        yield
    finally:
        # Removed while it is held: whoever has opened it meanwhile finds that its name is gone.
        path.unlink(missing_ok=True)
        os.close(handle)


def _open_locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(handle)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int) -> None:
    import fcntl  # noqa: PLC0415 - Windows has none

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Locked from None
    except OSError:
        # Some network file systems have no locks; an upload there goes on without.
        return
