"""Tests what a process protects from other users of the machine."""

from __future__ import annotations

import sys

from tests.support.processes import run

_SHOW = """
import ctypes, os, resource
from services.runtime.hardening import harden_process
harden_process()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))
"""
"""3 is PR_GET_DUMPABLE."""


def test_a_process_dumps_no_core_and_makes_private_files() -> None:
    shown = run([sys.executable, "-c", _SHOW])
    assert shown.stdout == "0 (0, 0) 0o77\n", shown.stderr
