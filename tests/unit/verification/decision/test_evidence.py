"""Evidence is compared with records at the precision in which it is shown."""

from __future__ import annotations

import pytest

from services.domain.instant import HOUR, MINUTE, SECOND
from services.verification.decision.evidence import (
    canonical_report_number,
    differing_fields,
    is_ahead_of_record,
    is_same_instant,
)
from services.verification.decision.model import NEGATIVE, PENDING, POSITIVE, Evidence, Record

TEN = 1_660_183_200 * SECOND
"""2022-08-11T10:00:00+08:00."""
RECORD = Record("labs/L/results/R", 1, 1, "labs/L", "R", NEGATIVE, TEN - HOUR, None, None, TEN + 42 * SECOND, 1)
SHOWN = Evidence(7, "labs/L", "R", NEGATIVE, TEN - HOUR, TEN + 42 * SECOND)


@pytest.mark.parametrize(
    ("shown", "same"),
    [
        (TEN + 42 * SECOND, True),
        (TEN + 42 * SECOND + 999_999, True),
        (TEN, True),
        (TEN + 41 * SECOND, False),
        (TEN + 43 * SECOND, False),
        (TEN + MINUTE, False),
        (TEN - MINUTE, False),
    ],
)
def test_times_are_equal_to_the_second_or_the_printed_minute(shown: int, same: bool) -> None:
    """Paper prints minutes: a time with zero seconds is compared to the minute."""
    assert is_same_instant(shown, TEN + 42 * SECOND) is same


def test_every_stated_field_is_compared() -> None:
    """All differences at once; what is not shown contradicts nothing."""
    assert differing_fields(SHOWN, RECORD) == ()
    assert differing_fields(SHOWN._replace(sample_time=None, report_time=None), RECORD) == ()
    altered = SHOWN._replace(outcome=POSITIVE, sample_time=TEN, report_time=TEN + HOUR)
    assert differing_fields(altered, RECORD) == ("outcome", "report_time", "sample_time")


def test_a_report_in_hand_before_its_upload_contradicts_no_sampling_record() -> None:
    """Only the sampling is uploaded, and the report is issued.

    There is no contradiction, and the evidence counts by itself.
    """
    sampled = RECORD._replace(outcome=PENDING, report_time=None)
    assert differing_fields(SHOWN, sampled) == ()
    assert is_ahead_of_record(SHOWN, sampled)
    assert differing_fields(SHOWN._replace(sample_time=TEN - 2 * HOUR), sampled) == ("sample_time",)


def test_a_screen_that_still_shows_the_sampling_contradicts_no_report() -> None:
    """The record has overtaken what the screen shows, and is considered in its place."""
    still = SHOWN._replace(outcome=PENDING, report_time=None)
    assert differing_fields(still, RECORD) == ()
    assert not is_ahead_of_record(still, RECORD)


@pytest.mark.parametrize("typed", ["SP1", " SP1", "SP1 ", "ＳＰ１", "\u3000SP1\u3000"])
def test_a_report_number_is_the_same_however_it_is_typed(typed: str) -> None:
    """An edited paper does not escape its record by a space or a full-width letter."""
    assert canonical_report_number(typed) == "SP1"
