"""Joins the metrics of several workers into those of one process. Counters are added up.

Gauges stay apart, by worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson
from prometheus_client import Metric
from prometheus_client.registry import Collector

_ADDED_UP = {"counter", "histogram", "summary"}
"""The types of metrics that only grow. The numbers of a worker that has ended stay in the sum."""


class _Sample(NamedTuple):
    """One number: its name, its labels in order, and the type and description of its metric."""

    family: str
    text: str
    type: str
    name: str
    labels: tuple[tuple[str, str], ...]


def dump_metrics(families: Iterable[Metric]) -> bytes:
    """Return metrics for `GroupMetrics.note`.

    The creation times of metrics are left out, because the parts of a sum have different creation times.
    """
    lines = [
        (family.name, family.documentation, family.type, sample.name, list(sample.labels.items()), repr(sample.value))
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]
    return orjson.dumps(lines)


def _read(body: bytes) -> dict[_Sample, float]:
    lines: list[list[Any]] = orjson.loads(body)
    return {
        _Sample(family, text, kind, name, tuple((key, value) for key, value in labels)): float(number)
        for family, text, kind, name, labels, number in lines
    }


class GroupMetrics(Collector):
    """The metrics of all workers of a group, for Prometheus."""

    def __init__(self) -> None:
        self._newest: dict[int, dict[_Sample, float]] = {}
        self._ended: dict[_Sample, float] = {}

    def note(self, worker: int, body: bytes) -> None:
        """Store a worker's metrics."""
        self._newest[worker] = _read(body)

    def end(self, worker: int) -> None:
        """Keep the counters of a worker that has ended, as far as they are known, and forget its gauges."""
        for sample, value in self._newest.pop(worker, {}).items():
            if sample.type in _ADDED_UP:
                self._ended[sample] = self._ended.get(sample, 0.0) + value

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. Gauges get the label `worker`."""
        values = dict(self._ended)
        for worker, samples in sorted(self._newest.items()):
            for sample, value in samples.items():
                if sample.type in _ADDED_UP:
                    values[sample] = values.get(sample, 0.0) + value
                else:
                    values[sample._replace(labels=(*sample.labels, ("worker", str(worker))))] = value
        families: dict[str, Metric] = {}
        for sample, value in values.items():
            family = families.setdefault(sample.family, Metric(sample.family, sample.text, sample.type))
            family.add_sample(sample.name, dict(sample.labels), value)
        yield from families.values()
