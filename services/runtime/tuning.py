"""Tuning of a serving process: garbage collection and thread scheduling."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys

GC_THRESHOLDS = (5_000, 20, 100)
"""Arguments of `gc.set_threshold`. The first is the number of net new objects before the youngest generation is
collected. The others are the numbers of collections of a generation before the next older generation is collected.

Python's default for the first threshold is 700. A batch of calls makes thousands of objects that are freed without the
collector, so that collections in between would find nothing. A much higher threshold is no option: gRPC leaves five
objects of each call in a reference cycle, and collecting 25,000 of them stops Verification for 8 to 13 ms.
"""


def freeze_heap() -> None:
    """Exclude all objects that exist now from every later collection. Call this when the process has started.

    Most objects that exist then, such as modules and descriptors, live as long as the process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


SWITCH_SECONDS = 0.0005
"""How long a thread may run Python while another thread waits. Python's default is 5 ms. A look-up waits for the
interpreter several times. With the default, a look-up beside reads of many rows would take a tenth of a second or more.
"""


def switch_threads_early() -> None:
    """Let threads that wait for the interpreter get it after SWITCH_SECONDS."""
    sys.setswitchinterval(SWITCH_SECONDS)


def use_batch_scheduling() -> None:
    """Put this process under SCHED_BATCH (Linux, sched(7)), so that a waking thread does not preempt a running one.

    gRPC wakes its own threads several times for each call. By default each wake-up preempts the thread that is
    composing an answer. SCHED_BATCH avoids that and shortens an answer on a stream by a quarter. On a core shared with
    CPU-bound programs it costs a millisecond or two per call.

    Call it before gRPC starts its threads, because they inherit the policy. A policy that the operator has set stays in
    force.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        # If a container forbids the change, the default scheduling stays in force.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def trim_heap() -> None:
    """Give free memory back to the system, where the C library supports it (glibc, malloc_trim(3)).

    gRPC takes about 20 kB for each call that waits. After a burst, glibc keeps this memory, because small blocks that
    are still in use lie above it. Trimming 100 MiB takes 35 ms. Meanwhile threads that need memory wait.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
