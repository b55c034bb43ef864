"""How reports of refusal are judged and counted."""

from __future__ import annotations

import pytest
from hutong.type.v1 import refusal_ground_pb2
from hutong.verification.v1 import decision_pb2, refusal_service_pb2

from services.domain.instant import DAY, HOUR, MINUTE, SECOND
from services.verification.refusals.rules import (
    NOT_UNLAWFUL,
    UNDETERMINED,
    UNLAWFUL,
    forbidden_among,
    judge,
    was_entitled,
)
from services.verification.refusals.summary import ALL_GROUNDS, Reported, summarize

NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY
EXPIRED = refusal_ground_pb2.REFUSAL_GROUND_EXPIRED
NOON = 1_660_190_400 * SECOND
"""2022-08-11T12:00:00+08:00, a Thursday."""
RECOGNIZED = decision_pb2.DECISION_OUTCOME_RECOGNIZED
NOT_RECOGNIZED = decision_pb2.DECISION_OUTCOME_NOT_RECOGNIZED
NOT_REQUIRED = decision_pb2.DECISION_OUTCOME_NOT_REQUIRED


@pytest.mark.parametrize(
    ("forbidden", "rule_known", "entitled", "judgement"),
    [
        ((NOT_LOCAL,), True, False, UNLAWFUL),
        ((NOT_LOCAL,), True, None, UNLAWFUL),
        ((), True, True, UNLAWFUL),
        ((), False, True, UNLAWFUL),
        ((), True, False, NOT_UNLAWFUL),
        ((), True, None, UNDETERMINED),
        ((), False, False, UNDETERMINED),
    ],
)
def test_judgement(forbidden: tuple[int, ...], rule_known: bool, entitled: bool | None, judgement: int) -> None:
    """A forbidden ground or an entitled person is unlawful; otherwise both must be known to say it was not."""
    assert judge(forbidden, rule_known=rule_known, entitled=entitled) == judgement  # type: ignore[arg-type]


def test_forbidden_grounds_are_those_of_the_place() -> None:
    """Only what the place's rules forbid counts as forbidden."""
    assert forbidden_among((NOT_LOCAL, EXPIRED), (NOT_LOCAL,)) == (NOT_LOCAL,)


@pytest.mark.parametrize(
    ("outcome", "expire_time", "refuse_time", "entitled"),
    [
        (RECOGNIZED, NOON + DAY, NOON, True),
        (RECOGNIZED, NOON + DAY, NOON + 23 * HOUR, True),
        (RECOGNIZED, NOON + DAY, NOON + DAY, None),
        (RECOGNIZED, NOON + DAY, NOON - 1, None),
        (NOT_REQUIRED, None, NOON + MINUTE, True),
        (NOT_REQUIRED, None, NOON + 2 * HOUR, None),
        (NOT_RECOGNIZED, None, NOON + MINUTE, False),
        (NOT_RECOGNIZED, None, NOON + 2 * HOUR, None),
        (decision_pb2.DECISION_OUTCOME_UNDETERMINED, None, NOON, None),
    ],
)
def test_what_a_decision_says_of_the_instant_of_refusal(
    outcome: int, expire_time: int | None, refuse_time: int, entitled: bool | None
) -> None:
    """A recognition holds until it ends, everything else for an hour, nothing for the time before."""
    assert was_entitled(outcome, NOON, expire_time, refuse_time) is entitled  # type: ignore[arg-type]


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
    rows = {(row.region, row.ground): row for row in summarize(reports, 0, NOON, NOON + DAY)}  # type: ignore[arg-type]
    assert [row.refusal_count for row in rows.values()] == [1, 1, 3, 3, 1]
    together = rows["410105", ALL_GROUNDS]
    assert (together.refusal_count, together.open_count, together.median_time_to_answer) == (3, 1, 3 * HOUR)
    assert (together.start_time, together.end_time) == (NOON, NOON + DAY)
    assert rows["220502", ALL_GROUNDS].median_time_to_answer is None


@pytest.mark.parametrize(
    ("interval", "starts", "ends"),
    [
        (
            refusal_service_pb2.SUMMARY_INTERVAL_DAY,
            ["08-11 12", "08-12 00", "08-15 00"],
            ["08-12 00", "08-13 00", "08-16 00"],
        ),
        (refusal_service_pb2.SUMMARY_INTERVAL_WEEK, ["08-11 12", "08-15 00"], ["08-15 00", "08-20 12"]),
        (refusal_service_pb2.SUMMARY_INTERVAL_MONTH, ["08-11 12"], ["08-20 12"]),
    ],
)
def test_summary_rows_are_civil_days_weeks_and_months(interval: int, starts: list[str], ends: list[str]) -> None:
    """Rows begin and end at midnight in Asia/Shanghai, clipped to the time that was asked for."""
    from services.domain.instant import format_instant

    def told(instant: int) -> str:
        return format_instant(instant)[5:13].replace("T", " ")

    reports = [_reported("410105", hours) for hours in (0, 11, 12, 35, 84)]
    rows = summarize(reports, interval, NOON, NOON + 9 * DAY)  # type: ignore[arg-type]
    together = [row for row in rows if row.ground == ALL_GROUNDS]
    assert [told(row.start_time) for row in together] == starts
    assert [told(row.end_time) for row in together] == ends
    assert sum(row.refusal_count for row in together) == len(reports)
