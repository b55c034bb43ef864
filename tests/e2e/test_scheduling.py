"""How the processes of a node share the cores."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client.forked_node import forked_node


def _may_be_chosen() -> bool:
    """Whether a process here may give way as Verification does; a container can forbid it."""
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    attempt = "import os; os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))"
    return subprocess.run([sys.executable, "-c", attempt], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _may_be_chosen(), reason="the system has no scheduling policies, or lets nobody choose one")
def test_verification_is_not_cut_short_by_its_own_threads_and_results_is_woken_at_once(tmp_path: Path) -> None:
    """Every thread of Verification waits its turn, those that gRPC has made too; none of the others' does."""
    policies = {"verification": os.SCHED_BATCH, "results": os.SCHED_OTHER, "policy": os.SCHED_OTHER}
    with forked_node(tmp_path / "node", list(policies)) as node:
        for service, policy in policies.items():
            found = set()
            for task in Path(f"/proc/{node.pids()[service]}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    found.add(os.sched_getscheduler(int(task.name)))
            assert found == {policy}
