"""When the oldest generation of the garbage collector is collected, and how collections are measured."""

from __future__ import annotations

import asyncio
import gc

import pytest
from prometheus_client import CollectorRegistry

from services.runtime.server.collection import CollectionTimes, CollectionTiming, collect_oldest
from tests.support.virtual_time import in_virtual_time, pass_time

NAMES = ("hutong_gc_seconds_total", "hutong_gc_longest_seconds", "hutong_gc_waiting")


@pytest.mark.parametrize(
    ("share", "count"), [(0.02, 60), (0.9, 6)], ids=["idle: once a minute", "busy: every ten minutes"]
)
@in_virtual_time
async def test_how_often_a_process_collects_in_an_hour(share: float, count: int) -> None:
    counted: list[None] = []
    now = asyncio.get_running_loop().time
    job = asyncio.create_task(collect_oldest(CollectionTiming(), lambda: counted.append(None), lambda: now() * share))
    await pass_time(3_630.0)
    job.cancel()
    assert len(counted) == count


@in_virtual_time
async def test_memory_is_given_back_once_after_each_busy_time() -> None:
    """A process that is never busy, or never idle, gives none back."""
    used, trimmed = 0.0, 0

    async def trim() -> None:
        nonlocal trimmed
        trimmed += 1

    job = asyncio.create_task(collect_oldest(collect=int, cpu_seconds=lambda: used, trim=trim))
    await pass_time(0.5)
    phases = [(0.0, 0), (0.3, 0), (0.0, 0), (0.9, 0), (0.3, 0), (0.0, 1), (0.9, 1), (0.0, 2), (0.0, 2)]
    for number, (share, count) in enumerate(phases):
        for _ in range(5):
            used += share
            await pass_time(1.0)
        assert trimmed == count, number
    job.cancel()


@pytest.mark.parametrize(
    ("waited", "share", "due"),
    [(59.9, 0.0, False), (60.0, 0.09, True), (60.0, 0.1, False), (599.0, 0.5, False), (600.0, 2.0, True)],
)
def test_when_a_collection_is_due(waited: float, share: float, due: bool) -> None:
    assert CollectionTiming().is_due(waited, share) is due


def test_a_collection_is_counted_by_its_generation() -> None:
    registry = CollectorRegistry()
    times = CollectionTimes(registry)
    times.start()
    try:
        gc.collect()
    finally:
        found = {name: registry.get_sample_value(name, {"generation": "2"}) for name in NAMES}
        times.stop()
    assert found["hutong_gc_waiting"] == 0
    assert (found["hutong_gc_seconds_total"] or 0) >= (found["hutong_gc_longest_seconds"] or 0) > 0
    assert times.note not in gc.callbacks
    assert registry.get_sample_value("hutong_gc_waiting", {"generation": "2"}) is None
