"""A run of the tests that is killed leaves no processes behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.processes import descendants, started
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
RUN = """
import subprocess
from tests.support.guard import guarded
with guarded(), subprocess.Popen(["sleep", "600"], start_new_session=True) as started:
    print("started", flush=True)
    started.wait()
"""


def test_what_a_killed_run_has_started_ends() -> None:
    """The process is in a session of its own, as services and PostgreSQL servers are."""
    with started([sys.executable, "-c", RUN], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "started\n"
        # These are the process and its guard. While a process begins a program, its environment seems empty.
        wait_until(lambda: len(descendants(run.pid)) == 2)
        run.kill()
        try:
            wait_until(lambda: not descendants(run.pid))
        finally:
            for left in descendants(run.pid):
                left.kill()
