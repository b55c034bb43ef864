"""How the threads of a process that serves share the cores with each other and with the other services."""

from __future__ import annotations

import contextlib
import os
import sys


def run_without_preemption() -> None:
    """Let a thread of this process that wakes wait for a core, in place of taking that of one at work (Linux).

    gRPC wakes threads of its own several times for each call, and by default each time the one that is composing an
    answer is taken off its core for it. SCHED_BATCH (sched(7)) lets it go on, which takes a quarter of the time off an
    answer on a stream. The price: it also waits for other processes' threads, on a core that computes all the time a
    millisecond or two for each call. To be called before gRPC has threads, since they inherit it. A policy that the
    operator has chosen stays.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        # Where a container forbids it, all goes on as by default.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
