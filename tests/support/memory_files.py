"""Temporary files in memory, where the machine has room. Then no commit and no new database waits for a disk.

What a process has written stays in memory when the process is killed. So tests of kills prove the same there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import psutil

PLACE = Path("/dev/shm")
ROOM_BYTES = 6 << 30
"""Memory that must be free, both in the machine and at PLACE. A whole run needs about a quarter of this size."""


def use_memory() -> None:
    """Let temporary files of this process and its children be in memory, unless TMPDIR says where they are to be."""
    if "TMPDIR" not in os.environ and _has_room():
        os.environ["TMPDIR"] = str(PLACE)
        # The folder is looked up once, and may have been looked up already.
        tempfile.tempdir = None


def is_in_memory(path: Path) -> bool:
    """Return whether a file is in memory."""
    return PLACE.is_dir() and path.stat().st_dev == PLACE.stat().st_dev


def _has_room() -> bool:
    if not (PLACE.is_dir() and os.access(PLACE, os.W_OK)) or os.statvfs(PLACE).f_flag & os.ST_NOEXEC:
        return False
    return min(shutil.disk_usage(PLACE).free, psutil.virtual_memory().available) >= ROOM_BYTES
