"""How the processes of a node share the cores."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from clients.examples.node import Node

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies of threads are Linux's")


def test_verification_is_not_cut_short_by_its_own_threads_and_results_is_woken_at_once(node: Node) -> None:
    """Every thread of Verification waits its turn, those that gRPC has made too; none of the others' does."""
    for service, policy in (("verification", os.SCHED_BATCH), ("results", os.SCHED_OTHER), ("policy", os.SCHED_OTHER)):
        threads = [int(task.name) for task in Path(f"/proc/{node.pids()[service]}/task").iterdir()]
        assert len(threads) > 1
        assert {os.sched_getscheduler(thread) for thread in threads} == {policy}
