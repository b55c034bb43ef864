"""The metric of the persons that callers asked about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, Collector


class _Asked(Collector):
    """Counts the persons that callers asked about, by role, as a Prometheus counter.

    The counter of prometheus_client locks and checks at each increment, which costs ten times as much. No lock is
    needed here, because only the event loop increments.
    """

    def __init__(self) -> None:
        self.by_role: defaultdict[str, int] = defaultdict(int)

    def collect(self) -> Iterator[Metric]:
        """Yield the counts for a scrape."""
        text = "Persons that callers asked about, each question counted"
        family = CounterMetricFamily("hutong_persons_asked", text, labels=["role"])
        for role, count in list(self.by_role.items()):
            family.add_metric([role], count)
        yield family


ASKED = _Asked()
REGISTRY.register(ASKED)
