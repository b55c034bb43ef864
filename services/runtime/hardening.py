"""Protects what a process has in memory, and what it writes, from other users of the machine."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

UMASK = 0o077
"""The umask, under which only the owner can access new files and folders."""
PR_SET_DUMPABLE = 4
"""The option of prctl(2) that sets whether a dump of the process may be made."""


def harden_process() -> None:
    """Protect secrets and data of this process from dumps and from other processes of the same user.

    On Linux only root can then attach a debugger or a profiler to the process, or read its environment and its open
    files in /proc. Child processes inherit the umask and the limit on dumps. A process that executes a new program
    loses the protection from debuggers and in /proc.
    """
    os.umask(UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # prctl fails only for an invalid argument, so its result is not checked.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
