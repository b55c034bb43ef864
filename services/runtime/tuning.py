"""Tuning of a process that serves: garbage collection and the scheduling of its threads."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

THRESHOLDS = (5_000, 20, 100)
"""New objects between two collections, and those before the older generations'. By default it is 700: a batch of calls
is thousands of objects that all die with it, and walking them meanwhile finds nothing. But gRPC leaves five objects of
each call in a circle, and a process that waits for 25,000 of them answers nobody for 8 to 13 ms in Verification."""


def settle_memory() -> None:
    """Spare what a started process holds for good, modules and descriptors, from every later garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


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
