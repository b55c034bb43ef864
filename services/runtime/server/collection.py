"""Memory of a serving process: garbage collection of the oldest generation, its cost, and the return of free memory.

The thresholds of `services/runtime/tuning.py` let the oldest generation wait for ten million new objects. An idle
service makes so many objects only in days. Until then it would keep every old reference cycle.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from services.runtime.tuning import trim_heap

_GENERATIONS = range(3)


@dataclass(frozen=True, slots=True)
class CollectionTiming:
    """When the oldest generation is collected. Times are in seconds.

    Attributes:
        look: the wait between two looks at how busy the process is.
        least: the least wait between two collections. A collection takes 7 to 10 ms of processor time for each 100,000
            objects in use that were made since the start (`time.thread_time`, 10,000 to 500,000 objects).
        most: the wait after which even a busy process collects. At 150 calls a second no service grew by 1 MiB in five
            minutes without a collection of the oldest generation.
        idle_share: a process counts as idle if it used less than this share of a core since the last look.
        busy_share: a process counts as busy if it used at least this share of a core. Once it is idle after a busy
            time, it gives free memory back.
    """

    look: float = 1.0
    least: float = 60.0
    most: float = 600.0
    idle_share: float = 0.1
    busy_share: float = 0.5

    def is_due(self, waited: float, share: float) -> bool:
        """Return whether to collect.

        `waited` is the time since the last collection, `share` the used share of a core.
        """
        return waited >= self.most or (waited >= self.least and share < self.idle_share)


async def _trim_in_thread() -> None:
    """Give memory back in a thread.

    The event loop goes on meanwhile, because ctypes releases the interpreter's lock.
    """
    await asyncio.to_thread(trim_heap)


async def collect_oldest(
    timing: CollectionTiming | None = None,
    collect: Callable[[], object] = gc.collect,
    cpu_seconds: Callable[[], float] = time.process_time,
    trim: Callable[[], Awaitable[None]] = _trim_in_thread,
) -> None:
    """Collect all generations whenever `timing` says so, and give memory back after a busy time, until cancelled."""
    timing = timing or CollectionTiming()
    loop = asyncio.get_running_loop()
    collected = loop.time()
    was_busy = False
    while True:
        looked, used = loop.time(), cpu_seconds()
        await asyncio.sleep(timing.look)
        now = loop.time()
        share = (cpu_seconds() - used) / (now - looked)
        if timing.is_due(now - collected, share):
            collect()
            collected = loop.time()
        if was_busy and share < timing.idle_share:
            await trim()
            was_busy = False
        was_busy = was_busy or share >= timing.busy_share


class CollectionTimes(Collector):
    """Measures how long collections take, for Prometheus.

    A collection may begin in any thread, even while that thread holds the lock of a metric. The counts are therefore
    plain numbers, which are read when Prometheus asks.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._begun = 0.0
        self._seconds = [0.0 for _ in _GENERATIONS]
        self._longest = [0.0 for _ in _GENERATIONS]

    def start(self) -> None:
        """Measure from now on, and export the figures."""
        gc.callbacks.append(self.note)
        self._registry.register(self)

    def stop(self) -> None:
        """Stop measuring, if `start` was called."""
        if self.note in gc.callbacks:
            gc.callbacks.remove(self.note)
            self._registry.unregister(self)

    def note(self, phase: str, info: Mapping[str, int]) -> None:
        """Count a collection. The garbage collector calls this before and after each one."""
        if phase == "start":
            self._begun = time.perf_counter()
            return
        taken = time.perf_counter() - self._begun
        generation = info["generation"]
        self._seconds[generation] += taken
        self._longest[generation] = max(self._longest[generation], taken)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield the metrics."""
        text = "Time that garbage collections stopped the process, by the oldest generation that they collected"
        taken = CounterMetricFamily("hutong_gc_seconds", text, labels=["generation"])
        longest = GaugeMetricFamily("hutong_gc_longest_seconds", "The longest of these stops", labels=["generation"])
        waiting = GaugeMetricFamily(
            "hutong_gc_waiting",
            "New objects (generation 0), and collections of the next younger generation (1 and 2), since the last one",
            labels=["generation"],
        )
        for generation, count in zip(_GENERATIONS, gc.get_count(), strict=True):
            taken.add_metric([str(generation)], self._seconds[generation])
            longest.add_metric([str(generation)], self._longest[generation])
            waiting.add_metric([str(generation)], count)
        yield from (taken, longest, waiting)
