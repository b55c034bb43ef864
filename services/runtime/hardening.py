"""Protects what a process holds and writes from other users of the machine."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

UMASK = 0o077
"""Only the owner can access new files and folders."""
PR_SET_DUMPABLE = 4
"""The option of prctl(2) that says whether the process may be dumped."""


def harden_process() -> None:
    """Keep secrets and data in this process's memory and files from other processes of the same user and from dumps.

    On Linux only root can then attach a debugger or a profiler to the process, or read its environment and its open
    files in /proc. Child processes inherit the umask and the limit on dumps. If the process executes a new program, the
    protection from debuggers and in /proc ends.
    """
    os.umask(UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # prctl fails only for an invalid argument.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
