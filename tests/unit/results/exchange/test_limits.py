"""Limits of what a node may send: results of an honest node pass, and nothing that no upload would have accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.domain.errors import InvalidArgument
from services.domain.instant import DAY, FIRST_TESTS, HOUR, SECOND
from services.domain.names import are_report_numbers, is_report_number
from services.results.exchange.limits import MAX_AHEAD, check_change, check_instant, check_tubes
from services.results.exchange.model import AdverseSubject, Replica, ReplicaTubes, SharedColumns
from services.results.labs.model import AUTHORIZED, Lab, StandingChange
from services.results.missing_reports.model import MissingReport
from services.results.records.model import ACTIVE, NEGATIVE, StoredResult
from tests.support.results.factories import NOW, REPORTED, USCC, subject_key

TUBE = SharedColumns("T1", 10, 1, 1, NEGATIVE, "220502", "南门 no. 1", REPORTED - HOUR, None, None, REPORTED, "")
TUBES = ReplicaTubes(
    USCC, 1, NOW, "220000", [TUBE, TUBE], [1, 1], [subject_key(1)] * 2, ["R1", "R2"], [b"h" * 16] * 2, [b""] * 2
)
RESULT = StoredResult(
    subject_key(1), REPORTED, USCC, "R1", 1, ACTIVE, "", "", *TUBE, NOW, None, "220000",
)  # fmt: skip
LAB = Lab(USCC, "通化", "220502", "", None, NOW, (StandingChange(AUTHORIZED, None, "", NOW),))

BAD_COLUMNS: dict[str, list[Any]] = {
    "tube_code": ["", "T\0", "T" * 65, "a\tb"],
    "pool_size": [0, -7, 21],
    "specimen": [-1, 1_001],
    "method": [-1, 1_001],
    "outcome": [0, 99, -5, 2**31 - 1],
    "sample_region": ["", "zzzzzzzzzzzz", "2205\t2", "22050２"],
    "sample_site": ["a\nb", "a\0", "x" * 201],
    "sample_time": [FIRST_TESTS - 1, NOW + MAX_AHEAD + 1, 2**63 - 1],
    "receive_time": [1, 2**63 - 1],
    "test_time": [1, 2**63 - 1],
    "item": ["sars-cov-2-nucleic-acid", "items/x", "A", "a" * 64, "a\tb"],
    "report_time": [FIRST_TESTS - 1, NOW + MAX_AHEAD + 1],
}
BAD_NUMBERS = ["", "R 1", "R\0", "R" * 65, "R/1", "R@1", "R\t1"]


def test_what_an_honest_node_sends_passes() -> None:
    """Results of a node whose clock is days ahead pass too. Kinds of specimen of a newer version pass as well."""
    check_tubes(TUBES, 1, NOW)
    check_tubes(TUBES._replace(tubes=[TUBE._replace(item="sars-cov-2-antigen"), TUBE]), 1, NOW)
    check_tubes(TUBES._replace(tubes=[TUBE._replace(specimen=77, report_time=NOW + 3 * DAY)] * 2), 1, NOW)
    check_change(Replica(RESULT, 1, b"h" * 16, b""), 1, NOW)
    check_change(LAB, 1, NOW)
    # The years from 1900 to 9999 are allowed, because the contract lets laboratories be registered with them.
    changes = (StandingChange(AUTHORIZED, -(2_208_988_800 * SECOND), "r" * 500, NOW),)
    check_change(replace(LAB, authorize_time=253_402_300_799 * SECOND, changes=changes), 1, NOW)
    check_change(MissingReport(USCC, "R1", NOW, "410000"), 1, NOW)
    assert check_instant(NOW, NOW, "as_of_time") == NOW


def test_a_node_names_no_adverse_subject() -> None:
    """Only the nation names adverse subjects, and not by replication."""
    with pytest.raises(InvalidArgument, match="adverse_subject"):
        check_change(AdverseSubject(subject_key(1)), 1, NOW)


@pytest.mark.parametrize(("column", "value"), [(name, value) for name, bad in BAD_COLUMNS.items() for value in bad])
def test_a_column_that_no_upload_lets_in_is_named(column: str, value: Any) -> None:
    """The bad value is the second of a column of tubes, and a field of a single result."""
    with pytest.raises(InvalidArgument, match=rf"tubes\.{column}"):
        check_tubes(TUBES._replace(tubes=[TUBE, TUBE._replace(**{column: value})]), 1, NOW)
    with pytest.raises(InvalidArgument, match=rf"result\.{column}"):
        check_change(Replica(RESULT._replace(**{column: value}), 1, b"h" * 16, b""), 1, NOW)


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_report_numbers_are_held_to_the_uploads_rule(number: str) -> None:
    with pytest.raises(InvalidArgument, match="report_number"):
        check_tubes(TUBES._replace(report_numbers=["R1", number]), 1, NOW)
    with pytest.raises(InvalidArgument, match="report_number"):
        check_change(Replica(RESULT._replace(report_number=number), 1, b"h" * 16, b""), 1, NOW)
    with pytest.raises(InvalidArgument, match="report_number"):
        check_change(MissingReport(USCC, number, NOW, "410000"), 1, NOW)


WRONG: list[Any] = [
    lambda: check_tubes(TUBES._replace(lab="x" * 18), 1, NOW),
    lambda: check_tubes(TUBES._replace(key_version=2), 1, NOW),
    lambda: check_tubes(TUBES._replace(upload_time=2**60), 1, NOW),
    lambda: check_change(Replica(RESULT._replace(state=9), 1, b"h" * 16, b""), 1, NOW),
    lambda: check_change(Replica(RESULT, 7, b"h" * 16, b""), 1, NOW),
    lambda: check_change(Replica(RESULT._replace(national_receive_time=-1), 1, b"h" * 16, b""), 1, NOW),
    lambda: check_change(replace(LAB, changes=(StandingChange(AUTHORIZED, None, "", NOW + MAX_AHEAD + 1),)), 1, NOW),
    lambda: check_change(replace(LAB, region="2205"), 1, NOW),
    lambda: check_change(replace(LAB, display_name="\0"), 1, NOW),
    lambda: check_change(replace(LAB, authorize_time=2**62), 1, NOW),
    lambda: check_change(MissingReport(USCC, "R1", NOW + MAX_AHEAD + 1, "410000"), 1, NOW),
    lambda: check_instant(-9 * 10**18, NOW, "as_of_time"),
]


@pytest.mark.parametrize("check", WRONG)
def test_what_no_node_can_have_is_refused(check: Any) -> None:
    """Laboratories, versions, states and times beside the columns."""
    with pytest.raises(InvalidArgument):
        check()


def test_a_column_of_report_numbers_is_checked_as_each_of_them() -> None:
    good = ["R1", "号" * 64, "a-b_c.d"]
    assert are_report_numbers([])
    assert are_report_numbers(good)
    for bad in BAD_NUMBERS:
        assert not is_report_number(bad)
        assert not are_report_numbers([*good, bad])
        assert not are_report_numbers([bad])
