"""The rules of Prometheus as promtool reads them, and what they say of made-up series (docs/runbooks.md).

`make check-tools` runs these tests, because they need promtool.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.processes import run

WANTED = os.environ.get("HUTONG_CHECK_TOOLS", "")
PROMTOOL = shutil.which("promtool")
if not WANTED:
    pytest.skip("make check-tools runs these tests", allow_module_level=True)
if not PROMTOOL and WANTED != "required":
    pytest.skip("promtool is not installed (Debian: prometheus)", allow_module_level=True)

RULES = Path("deploy/prometheus/hutong.yaml").absolute()
SERVICE = 'job="hutong",instance="a",grpc_type="unary",grpc_service="hutong.verification.v1.VerificationService"'
HANDLED = f'grpc_server_handled_total{{{SERVICE},grpc_method="Verify",role="gate",grpc_code="%s"}}'
BUCKET = f'grpc_server_handling_seconds_bucket{{{SERVICE},grpc_method="Verify",le="0.25"}}'
COUNT = f'grpc_server_handling_seconds_count{{{SERVICE},grpc_method="Verify"}}'
AT_REST = "0x600"
NO_NUMBER = " ".join(["NaN"] * 601)
SET_ASIDE = 'hutong_replicated_set_aside_total{job="hutong",instance="a",node="410000",reason="NOT_ITS_OWN"}'
EXPIRY = 'hutong_certificate_expiry_timestamp_seconds{job="hutong",instance="a",setting="HUTONG_TLS_CERTIFICATE_FILE"}'


def grows(by_minute: float) -> str:
    """Return a counter of ten hours, in promtool's notation."""
    return f"0+{by_minute}x600"


CASES: dict[str, tuple[dict[str, str], set[str]]] = {
    "a fault in ten thousand calls": ({HANDLED % "OK": grows(9_999), HANDLED % "Internal": grows(1)}, set()),
    "a fault in two hundred calls": (
        {HANDLED % "OK": grows(995), HANDLED % "Unavailable": grows(5)},
        {"HutongFaultsSlow"},
    ),
    "a fault in fifty calls": (
        {HANDLED % "OK": grows(980), HANDLED % "Unavailable": grows(20)},
        {"HutongFaultsSlow", "HutongFaultsFast"},
    ),
    "mistakes of callers": ({HANDLED % "OK": grows(500), HANDLED % "InvalidArgument": grows(500)}, set()),
    "a single call that fails": ({HANDLED % "Internal": grows(1)}, set()),
    "calls refused by lag": (
        {
            HANDLED % "OK": grows(900),
            HANDLED % "ResourceExhausted": grows(100),
            f'hutong_overload_refusals_total{{{SERVICE},grpc_method="Verify"}}': grows(100),
        },
        {"HutongFaultsSlow", "HutongFaultsFast"},
    ),
    "one in two hundred late": ({COUNT: grows(1_000), BUCKET: grows(995)}, set()),
    "one in five late": ({COUNT: grows(1_000), BUCKET: grows(800)}, {"HutongLateSlow", "HutongLateFast"}),
    "a node without a node above": (
        {
            'hutong_replication_connected{job="hutong",instance="a"}': NO_NUMBER,
            'hutong_replication_lag_seconds{job="hutong",instance="a"}': NO_NUMBER,
            'hutong_exchange_listening{job="hutong",instance="a"}': NO_NUMBER,
            'hutong_policy_upstream_watched{job="hutong",instance="a"}': NO_NUMBER,
            'hutong_policy_sending{job="hutong",instance="a"}': NO_NUMBER,
            'hutong_refusals_connected{job="hutong",instance="a"}': NO_NUMBER,
        },
        set(),
    ),
    "another process sends": (
        {
            'hutong_replication_connected{job="hutong",instance="a"}': AT_REST,
            'hutong_replication_connected{job="hutong",instance="b"}': "1x600",
            'hutong_replication_lag_seconds{job="hutong",instance="a"}': NO_NUMBER,
            'hutong_replication_lag_seconds{job="hutong",instance="b"}': "2x600",
        },
        set(),
    ),
    "a node that is cut off": (
        {
            'hutong_replication_connected{job="hutong",instance="a"}': AT_REST,
            'hutong_replication_lag_seconds{job="hutong",instance="a"}': "0+60x600",
            'hutong_replication_backlog_commits{job="hutong",instance="a"}': "0+50x600",
            'hutong_exchange_listening{job="hutong",instance="a"}': AT_REST,
            'hutong_policy_upstream_watched{job="hutong",instance="a"}': AT_REST,
            'hutong_policy_sending{job="hutong",instance="a"}': AT_REST,
            'hutong_refusals_connected{job="hutong",instance="a"}': AT_REST,
            'hutong_policy_upstream_lag_seconds{job="hutong",instance="a"}': "0+60x600",
        },
        {
            "HutongReplicationDisconnected",
            "HutongReplicationLate",
            "HutongReplicationBacklog",
            "HutongNotificationsLost",
            "HutongPoliciesLost",
            "HutongPoliciesNotSent",
            "HutongPoliciesLate",
            "HutongRefusalsNotExchanged",
        },
    ),
    "a first change that is set aside": (
        {SET_ASIDE: "_x580 1x20"},
        {"HutongSetAside"},
    ),
    "a change that was set aside long ago": (
        {SET_ASIDE: "1x600"},
        set(),
    ),
    "an audit that is not sealed": (
        {'hutong_audit_seal_failures_total{job="hutong",instance="a",service="results"}': grows(60)},
        {"HutongAuditNotSealed"},
    ),
    "a caller that tries numbers": (
        {
            'hutong_persons_asked_total{job="hutong",instance="a",role="gate"}': grows(100),
            'hutong_persons_missed_total{job="hutong",instance="a",role="gate"}': grows(40),
        },
        {"HutongManyMisses"},
    ),
    "a certificate of a week": (
        {EXPIRY: f"{36_000 + 7 * 86_400}x600"},
        {"HutongCertificateExpires"},
    ),
    "a certificate of a day": (
        {EXPIRY: f"{36_000 + 86_400}x600"},
        {"HutongCertificateExpires", "HutongCertificateExpired"},
    ),
    "a receiver of traces that is away": (
        {'hutong_trace_spans_total{job="hutong",instance="a",outcome="failed"}': grows(60)},
        {"HutongTracesLost"},
    ),
    "a process that is gone": ({'up{job="hutong",instance="a"}': AT_REST}, {"HutongDown"}),
}


def test_rules_are_valid() -> None:
    assert PROMTOOL, "promtool is not installed (Debian: prometheus)"
    done = run([PROMTOOL, "check", "rules", "--lint=all", "--lint-fatal", str(RULES)])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("series", "firing"), CASES.values(), ids=CASES)
def test_alerts_fire_when_they_should(series: dict[str, str], firing: set[str], tmp_path: Path) -> None:
    """No other alerts fire. The series last for ten hours, and the alerts are those at their end."""
    assert PROMTOOL
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(firing)]
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": "10h", "exp_samples": samples}],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": [test]}))
    done = run([PROMTOOL, "test", "rules", str(file)])
    assert done.returncode == 0, done.stdout + done.stderr
