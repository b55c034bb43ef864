"""How reports of refusal are counted."""

from __future__ import annotations

import pytest
from hutong.type.v1 import refusal_ground_pb2, summary_period_pb2

from services.domain.instant import DAY, HOUR, SECOND
from services.verification.refusals.rules import UNLAWFUL
from services.verification.refusals.summary import Reported, Summary, summarize

NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY
EXPIRED = refusal_ground_pb2.REFUSAL_GROUND_EXPIRED
NOON = 1_660_190_400 * SECOND
"""2022-08-11T12:00:00+08:00, a Thursday."""


def _reported(region: str, hours: int, answered: int | None = None, *grounds: int) -> Reported:
    return Reported(region, grounds or (NOT_LOCAL,), UNLAWFUL, NOON + hours * HOUR, answered)  # type: ignore[arg-type]


def test_summary_counts_each_ground_and_all_together() -> None:
    """A report with two grounds counts once for each and once for all; the median is over answered ones."""
    reports = [
        _reported("410105", 0, 2 * HOUR, NOT_LOCAL, EXPIRED),
        _reported("410105", 1, 4 * HOUR),
        _reported("410105", 2, None),
        _reported("220502", 3, None, EXPIRED),
    ]
    rows = {row.region: row for row in summarize(reports, 0, NOON, NOON + DAY)}  # type: ignore[arg-type]
    counts = [{0: row.total.refusal_count} | _by_ground(row) for row in rows.values()]
    assert counts == [{0: 1, EXPIRED: 1}, {0: 3, NOT_LOCAL: 3, EXPIRED: 1}]
    assert list(rows) == ["220502", "410105"]
    total = rows["410105"].total
    assert (total.refusal_count, total.open_count, total.median_time_to_answer) == (3, 1, 3 * HOUR)
    assert (rows["410105"].start_time, rows["410105"].end_time) == (NOON, NOON + DAY)
    assert rows["220502"].total.median_time_to_answer is None


def _by_ground(row: Summary) -> dict[int, int]:
    return {ground: counts.refusal_count for ground, counts in row.by_ground.items()}


@pytest.mark.parametrize(
    ("period", "starts", "ends"),
    [
        (
            summary_period_pb2.SUMMARY_PERIOD_DAY,
            ["08-11 12", "08-12 00", "08-15 00"],
            ["08-12 00", "08-13 00", "08-16 00"],
        ),
        (summary_period_pb2.SUMMARY_PERIOD_WEEK, ["08-11 12", "08-15 00"], ["08-15 00", "08-20 12"]),
        (summary_period_pb2.SUMMARY_PERIOD_MONTH, ["08-11 12"], ["08-20 12"]),
    ],
)
def test_summary_rows_are_civil_days_weeks_and_months(period: int, starts: list[str], ends: list[str]) -> None:
    """Rows begin and end at midnight in Asia/Shanghai, clipped to the time that was asked for."""
    from services.domain.instant import format_instant

    def told(instant: int) -> str:
        return format_instant(instant)[5:13].replace("T", " ")

    reports = [_reported("410105", hours) for hours in (0, 11, 12, 35, 84)]
    rows = summarize(reports, period, NOON, NOON + 9 * DAY)  # type: ignore[arg-type]
    assert [told(row.start_time) for row in rows] == starts
    assert [told(row.end_time) for row in rows] == ends
    assert sum(row.total.refusal_count for row in rows) == len(reports)
