"""The PostgreSQL server of a bench or of a run of tests ends with the process that has started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.processes import started
from tests.support.waiting import TIMEOUT_SECONDS

_SERVES = """
import sys
from pathlib import Path
from tests.support.databases import PostgresServer
print(PostgresServer(Path(sys.argv[1]), synced=False).server.get_pid(), flush=True)
sys.stdin.read()
"""


def test_a_server_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SERVES, str(tmp_path / "data")]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        postmaster = psutil.Process(int(process.stdout.readline()))
        process.kill()
        postmaster.wait(TIMEOUT_SECONDS)
