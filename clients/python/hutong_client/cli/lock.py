"""Process lock on a file. The lock ends with its process, even if the process is killed.

The package filelock is not used for two reasons: it leaves its file behind, and on systems without the call flock its
marker file outlives a killed process.
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
    """Hold the lock at this path; raise Locked if another process holds it. Remove the lock's empty file at the end.

    The lock has no effect on Windows and on file systems without flock.
    """
    if sys.platform == "win32":
        yield
        return
    handle = _open_locked(path)
    try:
        yield
    finally:
        # The file is removed while the lock is held. Another process that has opened the file then notices, once it has
        # the lock, that the path no longer names the file.
        path.unlink(missing_ok=True)
        os.close(handle)


def _open_locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(handle)
            if _is_at(path, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    """Check whether the path still names the open file.

    The lock's last holder may have removed the file before this process locked it.
    """
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _lock(handle: int) -> None:
    import fcntl  # noqa: PLC0415 - Windows has none

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Locked from None
    except OSError:
        # Some network file systems have no locks. An upload there continues without one.
        return
