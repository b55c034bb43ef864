"""The rules of Prometheus and the dashboards of Grafana name only what the services have, and alerts have runbooks."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

import services
from deploy.grafana.dashboards import DASHBOARDS, text_of
from deploy.prometheus.rules import ALERTS, main
from services.runtime.server.access.asked import ASKED
from services.runtime.server.collection import CollectionTimes
from services.verification.showings.shares import Shares

RULES = Path("deploy/prometheus/hutong.yaml")
PROMETHEUS = {"up", "process_resident_memory_bytes"}
"""The metrics that Prometheus and its Python library export themselves."""
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
OF_EVERY_TARGET = {"instance", "job", "worker"}
"""Labels that a scrape adds, and the label of a worker's gauges (docs/operations.md §1)."""
_TEXT = re.compile(r'"[^"]*"')
_METRIC = re.compile(r"\b(?:(?:hutong|grpc_server|process|python)_[a-z0-9_]+|hutong:[a-z0-9_:]+|up)\b")
_IN_BRACES = re.compile(r"([a-z0-9_:]+)\{([^}]*)\}")
_LISTED = re.compile(r"\b(?:by|without|on|ignoring) \(([^)]*)\)")


def exported() -> dict[str, set[str]]:
    """Return the labels of each series that a service exports, by its name."""
    for found in pkgutil.walk_packages(services.__path__, "services."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    wrapped = {
        id(value): value
        for name, module in list(sys.modules.items())
        if name.startswith("services.")
        for value in vars(module).values()
        if isinstance(value, MetricWrapperBase)
    }
    families: list[MetricWrapperBase | Metric] = list(wrapped.values())
    for collector in (ASKED, CollectionTimes(CollectorRegistry()), Shares()):
        families += collector.collect()
    series: dict[str, set[str]] = {}
    for family in families:
        kind = getattr(family, "type", None) or family._type  # type: ignore[union-attr]  # noqa: SLF001
        name = getattr(family, "name", None) or family._name  # type: ignore[union-attr]  # noqa: SLF001
        labels = set(family._labelnames)  # noqa: SLF001 - the library has no other way to ask
        for suffix in SUFFIXES[kind]:
            series[name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return series


def rules() -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    """Return every expression of the rules and the dashboards."""
    panels = [panel for name in DASHBOARDS for panel in json.loads(text_of(name))["panels"]]
    return [rule["expr"] for rule in rules()] + [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.fixture(scope="module")
def series() -> dict[str, set[str]]:
    return exported()


def test_committed_files_are_those_that_are_made() -> None:
    """The rules by deploy/prometheus/rules.py, the dashboards by deploy/grafana/dashboards.py."""
    assert RULES.read_text(encoding="utf-8") == main()
    for name in DASHBOARDS:
        assert Path(f"deploy/grafana/{name}.json").read_text(encoding="utf-8") == text_of(name)


def test_every_metric_exists(series: dict[str, set[str]]) -> None:
    """A service exports it, or a rule records it."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    named = {name for expression in expressions() for name in _METRIC.findall(_TEXT.sub('""', expression))}
    assert len(named) > 30
    assert named - series.keys() - recorded - PROMETHEUS == set()


def test_every_label_exists(series: dict[str, set[str]]) -> None:
    """A label exists in the metric from which it selects. A label in a list exists in any metric of the expression."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for expression in expressions():
        bare = _TEXT.sub('""', expression)
        for name, matchers in _IN_BRACES.findall(bare):
            if name not in PROMETHEUS:
                labels = set(re.findall(r"([a-z_]+)[=!]", matchers))
                assert labels <= series[name] | OF_EVERY_TARGET, (name, labels)
        named = set(_METRIC.findall(bare))
        if not named & recorded:
            known = set().union(*(series.get(name, set()) for name in named)) | OF_EVERY_TARGET
            for listed in _LISTED.findall(bare):
                assert {label.strip() for label in listed.split(",")} <= known, expression


def test_every_metric_is_documented(series: dict[str, set[str]]) -> None:
    """The metrics are documented in docs/operations.md §6, where an operator finds their meaning."""
    page = Path("docs/operations.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`((?:hutong|grpc)_[a-z0-9_]+)", page))
    missing = {re.sub("_(bucket|count|sum)$", "", name) for name in series if not name.startswith("process_")}
    assert missing - documented == set()


def test_every_alert_has_a_runbook() -> None:
    """A section of its name, with what it means and what to do."""
    page = Path("docs/runbooks.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == [alert.name for alert in ALERTS]
    for name, text in sections.items():
        assert "*Means*" in text, name
        assert "*Do*" in text, name


def test_no_rule_names_a_caller() -> None:
    """The names of gates and laboratories that two metrics have stay out of rules, dashboards and alerts."""
    for expression in expressions():
        assert not set(re.findall(r"\b(?:by|without) \(([^)]*)\)", expression)) & {"lab", "gate"}
    for rule in rules():
        assert not re.search(r"\$labels\.(lab|gate|caller)", json.dumps(rule))
