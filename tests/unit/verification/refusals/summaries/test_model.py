"""How reports of refusal are counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hutong.type.v1 import refusal_ground_pb2, summary_period_pb2

from services.domain.instant import DAY, HOUR, SECOND
from services.verification.decision_counts.model import OutcomeCounts
from services.verification.refusals.rules import UNLAWFUL
from services.verification.refusals.summaries.model import (
    CITY,
    DISTRICT,
    PROVINCE,
    PURPOSE,
    VENUE_KIND,
    WHOLE,
    Decided,
    Material,
    Reported,
    RowKey,
    Summary,
    SummaryQuestion,
    summarize,
)

NOT_LOCAL = refusal_ground_pb2.REFUSAL_GROUND_NOT_TESTED_LOCALLY
EXPIRED = refusal_ground_pb2.REFUSAL_GROUND_EXPIRED
NOON = 1_660_190_400 * SECOND
"""2022-08-11T12:00:00+08:00, a Thursday."""


def _reported(region: str, hours: int, answered: int | None = None, *grounds: int) -> Reported:
    time = NOON + hours * HOUR
    return Reported(
        region,
        grounds or (NOT_LOCAL,),  # type: ignore[arg-type]
        UNLAWFUL,
        time,
        time,
        None if answered is None else time + answered,
    )


def test_summary_counts_each_ground_and_all_together() -> None:
    """A report with two grounds counts once for each and once for all; the median is over answered ones."""
    reports = [
        _reported("410105", 0, 2 * HOUR, NOT_LOCAL, EXPIRED),
        _reported("410105", 1, 4 * HOUR),
        _reported("410105", 2, None),
        _reported("220502", 3, None, EXPIRED),
    ]
    question = SummaryQuestion("", NOON, NOON + DAY)
    rows = {row.key.region: row for row in summarize(Material(reports, []), question)}
    counts = [{0: row.total.refusal_count} | _by_ground(row) for row in rows.values()]
    assert counts == [{0: 1, EXPIRED: 1}, {0: 3, NOT_LOCAL: 3, EXPIRED: 1}]
    assert list(rows) == ["220502", "410105"]
    total = rows["410105"].total
    assert (total.refusal_count, total.open_count, total.median_time_to_answer) == (3, 1, 3 * HOUR)
    assert (rows["410105"].key.start_time, rows["410105"].end_time) == (NOON, NOON + DAY)
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
    question = SummaryQuestion("", NOON, NOON + 9 * DAY, period)  # type: ignore[arg-type]
    rows = summarize(Material(reports, []), question)
    assert [told(row.key.start_time) for row in rows] == starts
    assert [told(row.end_time) for row in rows] == ends
    assert sum(row.total.refusal_count for row in rows) == len(reports)


def _told(row: Summary) -> tuple[int, str, int, int, int, int]:
    key = row.key
    return key.grouping, key.region, key.venue_kind, key.purpose, row.total.refusal_count, row.decided.total


def test_rows_of_several_groupings_come_one_after_the_other() -> None:
    """Each report and decision is counted once in each grouping, and never under a region above the one asked for."""
    reports = [
        replace(_reported("410105", 0), venue_kind=1, purpose=4),
        replace(_reported("410106", 0), venue_kind=3, purpose=4),
        replace(_reported("411000", 0), venue_kind=3, purpose=6),
    ]
    decided = [
        Decided(PROVINCE, "41", 0, NOON, OutcomeCounts(7)),
        Decided(CITY, "4103", 0, NOON, OutcomeCounts(2)),
        Decided(PURPOSE, "", 4, NOON, OutcomeCounts(5)),
    ]
    groupings = (PROVINCE, CITY, VENUE_KIND, PURPOSE)
    rows = summarize(Material(reports, decided), SummaryQuestion("", NOON, NOON + DAY, groupings=groupings))
    assert [_told(row) for row in rows] == [
        (PROVINCE, "410000", 0, 0, 3, 7),
        (CITY, "410100", 0, 0, 2, 0),
        (CITY, "410300", 0, 0, 0, 2),
        (CITY, "411000", 0, 0, 1, 0),
        (VENUE_KIND, "000000", 1, 0, 1, 0),
        (VENUE_KIND, "000000", 3, 0, 2, 0),
        (PURPOSE, "000000", 0, 4, 2, 5),
        (PURPOSE, "000000", 0, 6, 1, 0),
    ]
    city = SummaryQuestion("410100", NOON, NOON + DAY, groupings=(WHOLE, PROVINCE, CITY, DISTRICT))
    found = [(row.key.grouping, row.key.region) for row in summarize(Material(reports[:2], []), city)]
    expected = [(WHOLE, "410100"), (PROVINCE, "410100"), (CITY, "410100"), (DISTRICT, "410105"), (DISTRICT, "410106")]
    assert found == expected


def test_who_is_silent_and_since_when() -> None:
    """The oldest open report counts, wherever it stands; a place with decisions alone is silent too."""
    reports = [_reported("410105", hours) for hours in (3, 1, 2)]
    reports += [_reported("410106", 0, HOUR), _reported("410106", 5)]
    decided = [Decided(DISTRICT, "410107", 0, NOON, OutcomeCounts(1))]
    material = Material(reports, decided, NOON + 2 * HOUR)
    rows = summarize(material, SummaryQuestion("", NOON, NOON + DAY, unanswered_only=True))
    assert [row.key.region for row in rows] == ["410105", "410107"]
    assert (rows[0].total.oldest_open_time, rows[0].comparable_count) == (NOON + HOUR, 2)
    (answering,) = (
        row for row in summarize(material, SummaryQuestion("", NOON, NOON + DAY)) if row.total.answered_count
    )
    assert (answering.total.last_answer_time, answering.total.oldest_open_time) == (NOON + HOUR, NOON + 5 * HOUR)


def test_rows_after_a_row() -> None:
    """A page begins after the last row of the page before it."""
    reports = [_reported(region, 0) for region in ("410105", "410106", "220502")]
    question = SummaryQuestion("", NOON, NOON + DAY, groupings=(PROVINCE, DISTRICT))
    rows = summarize(Material(reports, []), question)
    for index, row in enumerate(rows):
        assert summarize(Material(reports, []), question, RowKey(*row.key)) == rows[index + 1 :]
