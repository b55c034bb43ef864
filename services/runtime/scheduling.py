"""How the threads of a process that serves share the cores with each other and with the other services."""

from __future__ import annotations

import contextlib
import os
import sys


def run_without_preemption() -> None:
    """Have no thread of this process take a core from one that is at work when it wakes, where the system is Linux.

    gRPC wakes threads of its own several times for each call, and by default each time the one that is composing an
    answer is taken off its core for it. SCHED_BATCH (sched(7)) lets it go on: a stream's answer then costs a quarter
    less. For a process that answers thousands of callers; what others wait for within their own answers is better woken
    at once. To be called before gRPC has threads: they inherit it.
    """
    if sys.platform == "linux":
        # Where a container forbids it, all goes on as by default.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
