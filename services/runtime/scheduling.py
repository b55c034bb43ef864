"""How the threads of a process that serves share the cores with each other and with the other services."""

from __future__ import annotations

import contextlib
import os
import sys


def run_without_preemption() -> None:
    """Have no thread of this process stop another one half way when it wakes, where the system is Linux.

    gRPC wakes a thread of its own several times for each call, and by default each time the one that is at work on an
    answer is taken off its core for it. SCHED_BATCH (sched(7)) lets it go on: a stream's answer then costs a quarter
    less. To be called before gRPC has threads: they inherit it.
    """
    if sys.platform == "linux":
        # Where a container forbids it, all goes on as by default.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
