"""The metrics of several workers as those of one process."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.runtime.server.workers.metrics import GroupMetrics, dump_metrics


class Worker:
    """The metrics of one worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("calls", "Calls", ["code"], registry=self.registry)
        self.lag = Gauge("lag", "Lag", registry=self.registry)
        self.seconds = Histogram("seconds", "Duration", buckets=[1.0], registry=self.registry)

    def dump(self) -> bytes:
        """Return the metrics as they are sent."""
        return dump_metrics(self.registry.collect())


def values_of(metrics: GroupMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return all samples by name and labels."""
    return {(one.name, tuple(one.labels.items())): one.value for family in metrics.collect() for one in family.samples}


def test_counters_are_added_up_and_gauges_stay_apart() -> None:
    group, first, second = GroupMetrics(), Worker(), Worker()
    first.calls.labels("OK").inc(2)
    second.calls.labels("OK").inc(3)
    second.calls.labels("Internal").inc()
    first.lag.set(math.nan)
    second.lag.set(7)
    first.seconds.observe(0.5)
    second.seconds.observe(4)
    group.note(1, first.dump())
    group.note(2, second.dump())
    values = values_of(group)
    assert values["calls_total", (("code", "OK"),)] == 5
    assert values["calls_total", (("code", "Internal"),)] == 1
    assert math.isnan(values["lag", (("worker", "1"),)])
    assert values["lag", (("worker", "2"),)] == 7
    assert values["seconds_bucket", (("le", "1.0"),)] == 1
    assert values["seconds_bucket", (("le", "+Inf"),)] == 2
    assert values["seconds_sum", ()] == 4.5
    assert not [name for name, _ in values if name.endswith("_created")]


def test_counters_never_fall_when_a_worker_ends() -> None:
    """A worker that is started again under the same number counts from 0."""
    group = GroupMetrics()
    for _ in range(3):
        worker = Worker()
        worker.calls.labels("OK").inc(2)
        worker.lag.set(1)
        group.note(1, worker.dump())
        group.end(1)
    group.end(2)
    assert values_of(group)["calls_total", (("code", "OK"),)] == 6
    assert ("lag", (("worker", "1"),)) not in values_of(group)
