"""Tuning of a serving process: garbage collection and thread scheduling."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys

GC_THRESHOLDS = (5_000, 20, 100)
"""Thresholds of `gc.set_threshold`: net new objects before the youngest generation is collected, then collections of
each generation before the next older generation is collected.

Python's default for the first threshold is 700. A batch of calls makes thousands of objects that are freed without the
collector, so collections in between find nothing. The first threshold cannot be much higher either: gRPC leaves five
objects of each call in a reference cycle, and collecting 25,000 of them stops Verification for 8 to 13 ms."""


def freeze_heap() -> None:
    """Exclude what lives as long as the process, such as modules and descriptors, from every later collection.

    Call it when the process has started.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


SWITCH_SECONDS = 0.0005
"""How long a thread may run Python while another one waits. Python's default is 5 ms. A look-up waits several times for
the interpreter, so with that default a look-up beside reads of many rows would take a tenth of a second and more."""


def switch_threads_early() -> None:
    """Let waiting threads of this process have the interpreter after SWITCH_SECONDS."""
    sys.setswitchinterval(SWITCH_SECONDS)


def use_batch_scheduling() -> None:
    """Put this process under SCHED_BATCH (Linux, sched(7)), so that a waking thread preempts no running one.

    gRPC wakes threads of its own several times for each call. By default each wake-up preempts the thread that is
    composing an answer. SCHED_BATCH avoids that and shortens an answer on a stream by a quarter. Its price is a
    millisecond or two per call on a core shared with CPU-bound programs.

    Call it before gRPC starts its threads, because they inherit the policy. A policy that the operator has set stays.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        # A container may forbid this change; the default scheduling then stays.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def trim_heap() -> None:
    """Give memory that is free back to the system, where the C library can (glibc, malloc_trim(3)).

    gRPC takes about 20 kB for each call that waits. glibc keeps such memory after a burst, because small blocks that
    are still in use lie above it. Trimming 100 MiB takes 35 ms, during which threads wait for memory.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
