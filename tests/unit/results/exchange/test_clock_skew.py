"""When clocks are said to differ, and when to agree again."""

from __future__ import annotations

from structlog.testing import capture_logs

from services.domain.instant import SECOND
from services.results.exchange.clock_skew import ClockSkewMonitor


def test_each_crossing_is_reported_once_and_hovering_about_the_limit_is_none() -> None:
    report = ClockSkewMonitor("220000")
    with capture_logs() as logs:
        for seconds in (0, 59, 61, 59, 61, 300, 31, 29, 59, -61, -300, -1):
            report.note(seconds * SECOND)
    assert [(entry["log_level"], entry["clock_skew_seconds"]) for entry in logs] == [
        ("warning", 61),
        ("info", 29),
        ("warning", -61),
        ("info", -1),
    ]
