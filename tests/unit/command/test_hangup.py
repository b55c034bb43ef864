"""SIGHUP in the first second of a process, while modules are imported. A server goes on; any other command ends."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.waiting import TIMEOUT_SECONDS

GONE_ON = 7
"""The exit code of a process that the signal has not ended."""
MAIN = f"""
import os, runpy, signal, sys

class Hangup:
    def find_spec(self, name, path=None, target=None):
        if name == "uvloop":
            os.kill(os.getpid(), signal.SIGHUP)
            os._exit({GONE_ON})

# The tests may run under nohup, which lets the processes below it ignore the signal.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.meta_path.insert(0, Hangup())
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""
"""Runs a main module, and sends SIGHUP when the module imports its first third-party package."""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["services", "--lang", "zh", "serve", "policy"], GONE_ON),
        (["services.command.worker", "policy"], GONE_ON),
        (["services", "migrate", "policy"], -signal.SIGHUP),
    ],
)
def test_which_processes_a_hangup_ends_before_they_handle_it(arguments: list[str], code: int) -> None:
    """An operator may reload a server as soon as it is started."""
    ended = subprocess.run([sys.executable, "-c", MAIN, *arguments], timeout=TIMEOUT_SECONDS, check=False)
    assert ended.returncode == code
