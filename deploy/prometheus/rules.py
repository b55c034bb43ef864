"""Write the rules of Prometheus: the objectives of the services, and the alerts that follow from them.

    python -m deploy.prometheus.rules > deploy/prometheus/hutong.yaml

docs/runbooks.md says what each objective is and what to do about each alert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

AVAILABILITY = 0.9995
"""The share of unary calls that a service answers without a fault of its own."""
PROMPT_SHARE = 0.99
"""The share of decisions, look-ups and resolutions that are answered within PROMPT_SECONDS."""
PROMPT_SECONDS = "0.25"
"""A gate lets a person wait no longer than this. The value must be a bucket of grpc_server_handling_seconds."""
LATE_SECONDS = 60
"""How old this node's knowledge of another node may be."""
WINDOWS = ("5m", "30m", "1h", "6h")
FAST, SLOW = 14.4, 6.0
"""How many times faster faults come than the objective allows. At the first rate the faults allowed for a month are
used up in two days, at the second rate in five days."""
LEAST_RATE = 0.1
"""With fewer calls a second than this no share is looked at, because a single call is then a large share."""

FAULTS = "Unknown|Internal|Unavailable|DataLoss|DeadlineExceeded"
PROMPT = "Verify|LookupLatest|BatchLookupColumns|ResolvePolicy|BatchResolvePolicies"
_OURS = 'grpc_service=~"hutong[.].*"'
_BY_SERVICE = "sum without (instance, worker, grpc_type, grpc_method, role, grpc_code)"
_BY_METHOD = "sum without (instance, worker, grpc_type)"
_BY_METHOD_OF_BUCKET = "sum without (instance, worker, grpc_type, le)"


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert. Its runbook is the section of docs/runbooks.md that has the alert's name.

    Attributes:
        severity: "page" if a person must act at once, "ticket" if on a working day.
    """

    name: str
    expression: str
    lasts: str
    severity: str
    summary: str


def _grew(metric: str, window: str) -> str:
    """Return the expression for a counter that grew. A series that began within the window counts as grown too."""
    return f"increase({metric}[{window}]) > 0 or ({metric} unless {metric} offset {window}) > 0"


def _recorded() -> list[dict[str, Any]]:
    rules = []
    for window in WINDOWS:
        calls = f'{_BY_SERVICE} (rate(grpc_server_handled_total{{{_OURS},grpc_type="unary"}}[{window}]))'
        faults = (
            f"{_BY_SERVICE} ("
            f'rate(grpc_server_handled_total{{{_OURS},grpc_type="unary",grpc_code=~"{FAULTS}"}}[{window}])'
            f' or rate(hutong_overload_refusals_total{{{_OURS},grpc_type="unary"}}[{window}]))'
        )
        timed = f'{_OURS},grpc_method=~"{PROMPT}"'
        bucket = f'grpc_server_handling_seconds_bucket{{{timed},le="{PROMPT_SECONDS}"}}'
        prompt = f"{_BY_METHOD_OF_BUCKET} (rate({bucket}[{window}]))"
        measured = f"{_BY_METHOD} (rate(grpc_server_handling_seconds_count{{{timed}}}[{window}]))"
        rules += [
            {"record": f"hutong:calls:rate{window}", "expr": calls},
            {"record": f"hutong:faults:ratio_rate{window}", "expr": f"{faults} / hutong:calls:rate{window}"},
            {"record": f"hutong:prompt_calls:rate{window}", "expr": measured},
            {"record": f"hutong:late:ratio_rate{window}", "expr": f"1 - {prompt} / hutong:prompt_calls:rate{window}"},
        ]
    return [
        *rules,
        {
            "record": "hutong:handling_seconds:p99_5m",
            "expr": f"histogram_quantile(0.99, {_BY_METHOD} "
            f"(rate(grpc_server_handling_seconds_bucket{{{_OURS}}}[5m])))",
        },
        {
            "record": "hutong:replication_lag_seconds:max",
            "expr": "max without (instance, worker) (hutong_replication_lag_seconds)",
        },
        {
            "record": "hutong:policy_lag_seconds:max",
            "expr": "max without (instance, worker) (hutong_policy_upstream_lag_seconds)",
        },
        {
            "record": "hutong:persons_missed:ratio_rate10m",
            "expr": "sum without (instance, worker) (rate(hutong_persons_missed_total[10m]))"
            " / sum without (instance, worker) (rate(hutong_persons_asked_total[10m]))",
        },
    ]


def _burns(ratio: str, calls: str, budget: float, factor: float, long: str, short: str) -> str:
    limit = f"{factor * budget:.6g}"
    return (
        f"hutong:{ratio}:ratio_rate{long} > {limit} and hutong:{ratio}:ratio_rate{short} > {limit}"
        f" and hutong:{calls}:rate{long} > {LEAST_RATE}"
    )


_EXPIRY = "min without (instance, worker) (hutong_certificate_expiry_timestamp_seconds)"
_FAULT_BUDGET, _LATE_BUDGET = 1 - AVAILABILITY, 1 - PROMPT_SHARE

ALERTS = (
    Alert("HutongDown", 'up{job=~"hutong.*"} == 0', "1m", "page", "{{ $labels.instance }} serves no metrics"),
    Alert(
        "HutongFaultsFast",
        _burns("faults", "calls", _FAULT_BUDGET, FAST, "1h", "5m"),
        "2m",
        "page",
        "{{ $labels.grpc_service }} fails {{ $value | humanizePercentage }} of its calls",
    ),
    Alert(
        "HutongFaultsSlow",
        _burns("faults", "calls", _FAULT_BUDGET, SLOW, "6h", "30m"),
        "15m",
        "ticket",
        "{{ $labels.grpc_service }} fails {{ $value | humanizePercentage }} of its calls",
    ),
    Alert(
        "HutongLateFast",
        _burns("late", "prompt_calls", _LATE_BUDGET, FAST, "1h", "5m"),
        "2m",
        "page",
        "{{ $value | humanizePercentage }} of {{ $labels.grpc_service }}/{{ $labels.grpc_method }} are late",
    ),
    Alert(
        "HutongLateSlow",
        _burns("late", "prompt_calls", _LATE_BUDGET, SLOW, "6h", "30m"),
        "15m",
        "ticket",
        "{{ $value | humanizePercentage }} of {{ $labels.grpc_service }}/{{ $labels.grpc_method }} are late",
    ),
    Alert(
        "HutongOverloaded",
        'hutong_lag_seconds{calls="light"} > 0.2',
        "1m",
        "page",
        "a new call of {{ $labels.service }} would take {{ $value | humanizeDuration }}",
    ),
    Alert(
        "HutongReplicationDisconnected",
        "max without (instance, worker) (hutong_replication_connected) == 0",
        "2m",
        "page",
        "no process of the node replicates to the node above",
    ),
    Alert(
        "HutongReplicationLate",
        f"hutong:replication_lag_seconds:max > {LATE_SECONDS}",
        "2m",
        "page",
        "the node above lacks the results of {{ $value | humanizeDuration }}",
    ),
    Alert(
        "HutongReplicationBacklog",
        "max without (instance, worker) (hutong_replication_backlog_commits) > 100"
        " and max without (instance, worker) (deriv(hutong_replication_backlog_commits[10m])) > 0",
        "10m",
        "ticket",
        "{{ $value }} commits wait, and the number grows",
    ),
    Alert(
        "HutongNotificationsLost",
        "max without (instance, worker) (hutong_exchange_listening) == 0",
        "2m",
        "page",
        "notifications of the node above are not received",
    ),
    Alert(
        "HutongPoliciesLost",
        "max without (instance, worker) (hutong_policy_upstream_watched) == 0",
        "2m",
        "ticket",
        "policies of the node above are not watched",
    ),
    Alert(
        "HutongPoliciesNotSent",
        "max without (instance, worker) (hutong_policy_sending) == 0",
        "2m",
        "ticket",
        "policies of this node are not sent to the node above",
    ),
    Alert(
        "HutongRefusalsNotExchanged",
        "max without (instance, worker) (hutong_refusals_connected) == 0",
        "2m",
        "ticket",
        "reported refusals are not exchanged with the node above",
    ),
    Alert(
        "HutongRefusalsSetAside",
        _grew("hutong_refusals_set_aside_total", "1h"),
        "0m",
        "ticket",
        "reported refusals of node {{ $labels.node }} are set aside: {{ $labels.reason }}",
    ),
    Alert(
        "HutongPoliciesSetAside",
        _grew("hutong_policy_set_aside_total", "1h"),
        "0m",
        "ticket",
        "policies of node {{ $labels.node }} are set aside: {{ $labels.reason }}",
    ),
    Alert(
        "HutongPoliciesLate",
        f"hutong:policy_lag_seconds:max > {LATE_SECONDS}",
        "2m",
        "ticket",
        "what is known of the policies above is {{ $value | humanizeDuration }} old",
    ),
    Alert(
        "HutongPoliciesDiffer",
        "max without (instance, worker) (hutong_policy_upstream_differences) > 0",
        "5m",
        "ticket",
        "{{ $value }} stored revisions differ from those of the node above",
    ),
    Alert(
        "HutongClockSkewed",
        "abs(hutong_clock_skew_seconds) > 60",
        "5m",
        "ticket",
        "the clock is {{ $value | humanizeDuration }} away from the clock of the node above",
    ),
    Alert(
        "HutongSetAside",
        _grew("hutong_replicated_set_aside_total", "1h"),
        "0m",
        "ticket",
        "changes of node {{ $labels.node }} are set aside: {{ $labels.reason }}",
    ),
    Alert(
        "HutongAuditHeadsDiffer",
        _grew("hutong_audit_heads_differing_total", "1h"),
        "0m",
        "page",
        "the audit of {{ $labels.service }} of node {{ $labels.node }} contradicts its earlier heads",
    ),
    Alert(
        "HutongAuditNotSealed",
        "sum without (instance, worker) (rate(hutong_audit_seal_failures_total[5m])) > 0",
        "5m",
        "page",
        "rows of the audit of {{ $labels.service }} are not sealed",
    ),
    Alert(
        "HutongManyMisses",
        "hutong:persons_missed:ratio_rate10m > 0.3"
        f" and sum without (instance, worker) (rate(hutong_persons_asked_total[10m])) > {LEAST_RATE}",
        "10m",
        "page",
        "{{ $value | humanizePercentage }} of the persons that role {{ $labels.role }} asks about are unknown",
    ),
    Alert(
        "HutongBudgetRefusals",
        "sum without (instance, worker) (rate(hutong_budget_refusals_total[10m])) > 0",
        "10m",
        "ticket",
        "callers of the role {{ $labels.role }} exceed their budget of {{ $labels.what }}",
    ),
    Alert(
        "HutongReloadFailed",
        _grew("hutong_reload_failures_total", "1h"),
        "0m",
        "page",
        "the changed file of {{ $labels.setting }} cannot be used",
    ),
    Alert(
        "HutongCertificateExpires",
        f"{_EXPIRY} - time() < 14 * 86400",
        "10m",
        "ticket",
        "a certificate of {{ $labels.setting }} expires in {{ $value | humanizeDuration }}",
    ),
    Alert(
        "HutongCertificateExpired",
        f"{_EXPIRY} - time() < 2 * 86400",
        "10m",
        "page",
        "a certificate of {{ $labels.setting }} expires in {{ $value | humanizeDuration }}",
    ),
    Alert(
        "HutongWorkersRestart",
        'sum without (instance) (increase(hutong_worker_restarts_total{cause="ended"}[15m])) > 2',
        "0m",
        "page",
        "workers end without being told to",
    ),
    Alert(
        "HutongChangesWait",
        "max without (instance, worker) (hutong_pending_changes) > 0",
        "1d",
        "ticket",
        "{{ $value }} changes of {{ $labels.service }} wait for a second approver",
    ),
    Alert(
        "HutongEmergencyGrantOpen",
        'max without (instance, worker) (hutong_emergency_grants{state="open"}) > 0',
        "0m",
        "ticket",
        "{{ $value }} emergency grants of {{ $labels.service }} are open",
    ),
    Alert(
        "HutongEmergencyGrantUnreviewed",
        'max without (instance, worker) (hutong_emergency_grants{state="unreviewed"}) > 0',
        "1d",
        "ticket",
        "{{ $value }} emergency grants of {{ $labels.service }} are not reviewed",
    ),
    Alert(
        "HutongMissingReportsDropped",
        _grew("hutong_missing_reports_dropped_total", "1h"),
        "0m",
        "ticket",
        "claimed reports were not remembered: {{ $labels.why }}",
    ),
    Alert(
        "HutongTracesLost",
        'sum without (instance, worker, outcome) (rate(hutong_trace_spans_total{outcome!="exported"}[10m])) > 0',
        "10m",
        "ticket",
        "{{ $value }} spans a second are lost",
    ),
)


def rules() -> dict[str, Any]:
    """Return the rules as Prometheus reads them."""
    alerts = [
        {
            "alert": one.name,
            "expr": one.expression,
            "for": one.lasts,
            "labels": {"severity": one.severity},
            "annotations": {"summary": one.summary, "runbook": f"docs/runbooks.md#{one.name.lower()}"},
        }
        for one in ALERTS
    ]
    return {
        "groups": [
            {"name": "hutong-objectives", "interval": "30s", "rules": _recorded()},
            {"name": "hutong-alerts", "rules": alerts},
        ]
    }


def main() -> str:
    """Return the file of rules."""
    head = "# Written by deploy/prometheus/rules.py. Change that file, not this one.\n"
    return head + yaml.safe_dump(rules(), sort_keys=False, width=1_000)


if __name__ == "__main__":
    print(main(), end="")
