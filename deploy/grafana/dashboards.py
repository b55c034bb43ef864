"""Write the dashboards of Grafana.

    python -m deploy.grafana.dashboards

Each dashboard is written into this folder. The panels of the dashboards read the metrics and the recorded rules of
Prometheus (deploy/prometheus). No panel shows a name of a person or a caller.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_WIDTH, _HEIGHT, _IN_A_ROW = 12, 8, 2


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph.

    Attributes:
        queries: expressions of Prometheus, each with the text of its legend.
        unit: Grafana's name of the unit.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"


SERVICES = (
    Panel("Calls a second", (("hutong:calls:rate5m", "{{grpc_service}}"),), "reqps"),
    Panel("Share of calls that a service fails", (("hutong:faults:ratio_rate5m", "{{grpc_service}}"),), "percentunit"),
    Panel("p99 of unary calls", (("hutong:handling_seconds:p99_5m", "{{grpc_method}}"),), "s"),
    Panel("Share of calls that are late", (("hutong:late:ratio_rate5m", "{{grpc_method}}"),), "percentunit"),
    Panel(
        "Calls under way",
        (
            (
                'sum by (grpc_service) (grpc_server_started_total{grpc_service=~"hutong[.].*"})'
                ' - sum by (grpc_service) (grpc_server_handled_total{grpc_service=~"hutong[.].*"})',
                "{{grpc_service}}",
            ),
        ),
    ),
    Panel(
        "Failed calls a second by code",
        (('sum by (grpc_code) (rate(grpc_server_handled_total{grpc_code!="OK"}[5m]))', "{{grpc_code}}"),),
        "reqps",
    ),
    Panel("How long a new call would take", (("hutong_lag_seconds", "{{service}} {{calls}}"),), "s"),
    Panel(
        "Calls refused by lag a second",
        (("sum by (grpc_method) (rate(hutong_overload_refusals_total[5m]))", "{{grpc_method}}"),),
        "reqps",
    ),
    Panel("Share of persons without a record", (("hutong:persons_missed:ratio_rate10m", "{{role}}"),), "percentunit"),
    Panel(
        "Calls refused by budget a second",
        (("sum by (role, what) (rate(hutong_budget_refusals_total[5m]))", "{{role}} {{what}}"),),
        "reqps",
    ),
    Panel("Memory", (("process_resident_memory_bytes", "{{job}} {{instance}}"),), "bytes"),
    Panel("Longest garbage collection", (("max by (generation) (hutong_gc_longest_seconds)", "{{generation}}"),), "s"),
    Panel(
        "Worker restarts an hour",
        (("sum by (cause) (increase(hutong_worker_restarts_total[1h]))", "{{cause}}"),),
    ),
    Panel(
        "Spans of traces a second",
        (("sum by (outcome) (rate(hutong_trace_spans_total[5m]))", "{{outcome}}"),),
    ),
)
NODES = (
    Panel("Age of what the node above has", (("hutong:replication_lag_seconds:max", "{{job}}"),), "s"),
    Panel("Commits that the node above lacks", (("max by (job) (hutong_replication_backlog_commits)", "{{job}}"),)),
    Panel(
        "Connections to the node above",
        (
            ("max by (job) (hutong_replication_connected)", "replication {{job}}"),
            ("max by (job) (hutong_exchange_listening)", "notifications {{job}}"),
            ("max by (job) (hutong_policy_upstream_watched)", "policies {{job}}"),
            ("max by (job) (hutong_policy_sending)", "policies upwards {{job}}"),
            ("max by (job) (hutong_refusals_connected)", "refusals {{job}}"),
        ),
    ),
    Panel("Age of the policies above", (("hutong:policy_lag_seconds:max", "{{job}}"),), "s"),
    Panel("Revisions that differ above", (("max by (job) (hutong_policy_upstream_differences)", "{{job}}"),)),
    Panel("Clock ahead of the node above", (("hutong_clock_skew_seconds", "{{job}}"),), "s"),
    Panel(
        "Changes set aside an hour",
        (("sum by (node, reason) (increase(hutong_replicated_set_aside_total[1h]))", "{{node}} {{reason}}"),),
    ),
    Panel(
        "Audits that contradict their heads",
        (("sum by (node, service) (hutong_audit_heads_differing_total)", "{{node}} {{service}}"),),
    ),
    Panel(
        "Failed seals of audits an hour",
        (("sum by (service) (increase(hutong_audit_seal_failures_total[1h]))", "{{service}}"),),
    ),
    Panel(
        "Reports flagged an hour",
        (("sum by (kind) (increase(hutong_evidence_flags_total[1h]))", "{{kind}}"),),
    ),
    Panel(
        "Recognitions an hour by basis",
        (("sum by (basis) (increase(hutong_recognitions_by_lab_total[1h]))", "{{basis}}"),),
    ),
    Panel(
        "Missing reports dropped an hour",
        (("sum by (why) (increase(hutong_missing_reports_dropped_total[1h]))", "{{why}}"),),
    ),
    Panel(
        "Waiting for a person",
        (
            ("max by (service) (hutong_pending_changes)", "changes of {{service}}"),
            ("max by (service, state) (hutong_emergency_grants)", "grants of {{service}}, {{state}}"),
        ),
    ),
    Panel(
        "Until certificates expire",
        (("min by (setting) (hutong_certificate_expiry_timestamp_seconds) - time()", "{{setting}}"),),
        "s",
    ),
    Panel(
        "Files that could not be used",
        (("sum by (setting) (hutong_reload_failures_total)", "{{setting}}"),),
    ),
)
DASHBOARDS = {"services": ("Hutong: services", SERVICES), "nodes": ("Hutong: nodes", NODES)}
_SOURCE = {"type": "prometheus", "uid": "${source}"}


def dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard as Grafana imports it."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"hutong-{name}",
        "title": title,
        "tags": ["hutong"],
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Source"}]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _IN_A_ROW)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0 if panel.unit == "percentunit" else None}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(panel.queries)
        ],
    }


def text_of(name: str) -> str:
    """Return the file of a dashboard."""
    return json.dumps(dashboard(name), indent=1) + "\n"


if __name__ == "__main__":
    for each in DASHBOARDS:
        (FOLDER / f"{each}.json").write_text(text_of(each), encoding="utf-8")
