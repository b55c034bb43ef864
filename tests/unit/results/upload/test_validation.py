"""Uploads are validated item by item: every fault is reported, and no item affects another."""

from __future__ import annotations

import pytest
from hutong.results.v1 import lab_pb2, upload_pb2
from hutong.type.v1 import identity_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.domain.instant import DAY, HOUR, MINUTE, SECOND, to_timestamp
from services.results.labs.model import StandingChange
from services.results.upload.model import Rejection, ValidatedBatch
from tests.support.results.factories import (
    ANTIGEN,
    HEPATITIS,
    NEGATIVE,
    NOW,
    PENDING,
    POOL_POSITIVE,
    POSITIVE,
    REPORTED,
    make_document,
    make_lab,
    make_tube,
    subject_key,
    validate_batch,
)

SUSPENDED = lab_pb2.LAB_STANDING_SUSPENDED
WARNED = lab_pb2.LAB_STANDING_WARNED
AUTHORIZED = lab_pb2.LAB_STANDING_AUTHORIZED


def reasons(validated: ValidatedBatch) -> dict[tuple[int, int], dict[str, str]]:
    """Return (tube, person) → field → reason. No item is reported twice, and no field of an item either."""
    found: dict[tuple[int, int], dict[str, str]] = {}
    for rejection in validated.rejections:
        fields = {violation.field: violation.reason for violation in rejection.violations}
        assert len(fields) == len(rejection.violations)
        found[rejection.tube_index, rejection.person_index] = fields
    assert len(found) == len(validated.rejections)
    return found


def only(validated: ValidatedBatch) -> Rejection:
    (rejection,) = validated.rejections
    return rejection


def test_a_right_tube_fans_out_to_its_persons() -> None:
    validated = validate_batch([make_tube(0, 5, pool_size=10)], 7)
    assert (validated.offset, list(validated.person_counts), list(validated.rejections)) == (7, [5], [])
    assert [row.report_number for row in validated.results] == [f"R{person}" for person in range(5)]
    assert [row.subject_key for row in validated.results] == [subject_key(person) for person in range(5)]
    assert {row.reference_time for row in validated.results} == {REPORTED}


def test_a_tube_of_an_item_that_is_not_admitted_is_rejected_by_its_item() -> None:
    """Among tubes of the default item, which stay; a name that is none is a fault of its form."""
    tubes = [make_tube(0), make_tube(1, item=ANTIGEN), make_tube(2, item="items/Antigen"), make_tube(3, item=HEPATITIS)]
    validated = validate_batch(tubes, items=("", "hepatitis-b"))
    assert [row.report_number for row in validated.results] == ["R0", "R3"]
    assert reasons(validated) == {(1, -1): {"item": "ITEM_NOT_ADMITTED"}, (2, -1): {"item": "INVALID_FIELD"}}
    assert ANTIGEN in validated.rejections[0].violations[0].description
    assert not validated.rejections[0].retryable


def test_all_faults_of_a_tube_are_reported_at_once() -> None:
    """One rejection names the faults of region, pool, outcome, times and persons."""
    tube = make_tube(0, 3, pool_size=2, outcome=POSITIVE, region="999999")
    tube.tube_code = "T\x07"
    tube.receive_time.CopyFrom(to_timestamp(NOW + HOUR))
    tube.test_time.CopyFrom(to_timestamp(REPORTED - 9 * HOUR))
    tube.persons[1].document.number = "410105186001010011"
    tube.persons[2].report_number = "R/2"
    rejection = only(validate_batch([tube]))
    assert rejection.person_index == -1
    assert {(violation.field, violation.reason) for violation in rejection.violations} == {
        ("tube_code", "INVALID_FIELD"),
        ("sample_region", "REGION_UNKNOWN"),
        ("persons", "POOL_MISMATCH"),
        ("outcome", "POOL_MISMATCH"),
        ("receive_time", "TIME_IN_FUTURE"),
        ("test_time", "TIMES_OUT_OF_ORDER"),
        ("report_time", "TIMES_OUT_OF_ORDER"),
        ("persons[1].document.number", "BAD_DOCUMENT_NUMBER"),
        ("persons[2].report_number", "INVALID_FIELD"),
    }
    assert not rejection.retryable


def test_all_faults_of_a_person_are_reported_at_once() -> None:
    """A bad report number does not hide a bad check character, and the others of the tube are stored."""
    tube = make_tube(0, 3)
    tube.persons[1].report_number = "R 1"
    tube.persons[1].document.number = "410105186001010011"
    validated = validate_batch([tube])
    assert reasons(validated) == {
        (0, 1): {
            "persons[1].report_number": "INVALID_FIELD",
            "persons[1].document.number": "BAD_DOCUMENT_NUMBER",
        }
    }
    assert [row.person_index for row in validated.results] == [0, 2]


FAULTS = ("region", "no sample time", "future", "order", "pool", "person", "report number", "no document")


def break_tube(tube: upload_pb2.Tube, fault: str) -> set[int]:
    """Break a tube of two persons in one way. Return the persons that cannot be stored."""
    if fault == "region":
        tube.sample_region = "429999"
    elif fault == "no sample time":
        tube.ClearField("sample_time")
    elif fault == "future":
        tube.report_time.CopyFrom(to_timestamp(NOW + DAY))
    elif fault == "order":
        tube.report_time.CopyFrom(to_timestamp(REPORTED - 5 * HOUR))
    elif fault == "pool":
        tube.outcome = POSITIVE
    elif fault == "person":
        tube.persons[1].document.number += "1"
        return {1}
    elif fault == "report number":
        tube.persons[0].ClearField("report_number")
        return {0}
    elif fault == "no document":
        tube.persons[0].ClearField("document")
        return {0}
    return {0, 1}


@given(st.lists(st.sampled_from(["", *FAULTS]), min_size=1, max_size=8))
def test_a_bad_item_says_nothing_about_its_neighbours(faults: list[str]) -> None:
    """Faults of one tube do not change the results of another."""
    tubes = [make_tube(index * 2, 2) for index in range(len(faults))]
    bad = {
        index: break_tube(tube, fault) if fault else set()
        for index, (tube, fault) in enumerate(zip(tubes, faults, strict=True))
    }
    validated = validate_batch(tubes)
    stored = {(row.tube_index, row.person_index) for row in validated.results}
    assert stored == {(index, person) for index, persons in bad.items() for person in {0, 1} - persons}
    for index, tube in enumerate(tubes):
        alone = validate_batch([tube])
        mine = [row._replace(tube_index=0) for row in validated.results if row.tube_index == index]
        assert mine == list(alone.results)
        told = [(each.person_index, each.violations) for each in validated.rejections if each.tube_index == index]
        assert told == [(each.person_index, each.violations) for each in alone.rejections]


def test_a_fault_of_the_tube_rejects_all_its_persons_by_one_rejection() -> None:
    validated = validate_batch([make_tube(0, 10, region="990000"), make_tube(20)])
    assert reasons(validated) == {(0, -1): {"sample_region": "REGION_UNKNOWN"}}
    assert [row.report_number for row in validated.results] == ["R20"]


@pytest.mark.parametrize("field", ["receive_time", "test_time", "report_time"])
def test_times_run_forward(field: str) -> None:
    """Each time is compared with the last correct one before it. Two equal instants are in order."""
    tube = make_tube()
    order = ("sample_time", "receive_time", "test_time", "report_time")
    before = order[order.index(field) - 1]
    for later in order[order.index(field) :]:
        getattr(tube, later).CopyFrom(getattr(tube, before))
    assert validate_batch([tube]).rejections == []
    getattr(tube, field).CopyFrom(to_timestamp(tube.sample_time.seconds * SECOND - HOUR))
    assert reasons(validate_batch([tube])) == {(0, -1): {field: "TIMES_OUT_OF_ORDER"}}


def test_times_that_are_not_stated_are_left_out_of_the_order() -> None:
    tube = make_tube()
    tube.ClearField("receive_time")
    tube.ClearField("test_time")
    assert validate_batch([tube]).rejections == []
    tube.report_time.CopyFrom(to_timestamp(REPORTED - 5 * HOUR))
    assert reasons(validate_batch([tube])) == {(0, -1): {"report_time": "TIMES_OUT_OF_ORDER"}}


def test_a_time_may_lie_five_minutes_ahead_and_not_a_microsecond_more() -> None:
    """Once that time has come the same report is accepted, so the rejection can be retried."""
    assert validate_batch([make_tube(reported=NOW + 5 * MINUTE)]).rejections == []
    ahead = make_tube(reported=NOW + 5 * MINUTE + 1)
    rejection = only(validate_batch([ahead]))
    assert {violation.field: violation.reason for violation in rejection.violations} == {
        "report_time": "TIME_IN_FUTURE"
    }
    assert rejection.retryable
    ahead.sample_region = "999999"
    assert not only(validate_batch([ahead])).retryable


@given(st.integers(-(10**18), 10**18), st.integers(-(2**31), 2**31 - 1))
def test_no_timestamp_breaks_the_validation(seconds: int, nanos: int) -> None:
    """Timestamps outside the years 1 to 9999 can be sent. They are a fault of their own tube only."""
    for field in ("sample_time", "receive_time", "test_time", "report_time"):
        tube = make_tube()
        getattr(tube, field).seconds = seconds
        getattr(tube, field).nanos = nanos
        validated = validate_batch([tube, make_tube(1)])
        assert [row.tube_index for row in validated.results][-1] == 1
        assert all(0 < row.reference_time <= NOW + 5 * MINUTE for row in validated.results)


def test_a_sampling_record_has_no_report_time_and_a_report_has_one() -> None:
    assert validate_batch([make_tube(outcome=PENDING)]).rejections == []
    assert validate_batch([make_tube(outcome=PENDING)]).results[0].reference_time == REPORTED - 4 * HOUR
    early = make_tube(outcome=PENDING)
    early.report_time.CopyFrom(to_timestamp(REPORTED))
    assert reasons(validate_batch([early])) == {(0, -1): {"report_time": "INVALID_FIELD"}}
    late = make_tube()
    late.ClearField("report_time")
    assert reasons(validate_batch([late])) == {(0, -1): {"report_time": "INVALID_FIELD"}}


@pytest.mark.parametrize(
    ("persons", "pool_size", "outcome", "expected"),
    [
        (1, 1, POSITIVE, {}),
        (1, 1, POOL_POSITIVE, {"outcome": "POOL_MISMATCH"}),
        (10, 10, POOL_POSITIVE, {}),
        (10, 10, POSITIVE, {"outcome": "POOL_MISMATCH"}),
        (3, 10, NEGATIVE, {}),
        (1, 10, POSITIVE, {"outcome": "POOL_MISMATCH"}),
        (1, 10, POOL_POSITIVE, {}),
        (6, 5, NEGATIVE, {"persons": "POOL_MISMATCH"}),
        (20, 20, NEGATIVE, {}),
        (21, 20, NEGATIVE, {"persons": "INVALID_FIELD"}),
        (1, 21, NEGATIVE, {"pool_size": "INVALID_FIELD"}),
    ],
)
def test_a_pool_fits_its_persons_and_a_person_is_positive_alone(
    persons: int, pool_size: int, outcome: int, expected: dict[str, str]
) -> None:
    """A positive pool does not make a person positive, and a single tube is no pool."""
    tube = make_tube(0, persons, pool_size=pool_size)
    tube.outcome = outcome  # type: ignore[assignment] # parametrised
    assert reasons(validate_batch([tube])) == ({(0, -1): expected} if expected else {})


def test_a_tube_without_persons_is_rejected() -> None:
    tube = make_tube()
    tube.ClearField("persons")
    assert reasons(validate_batch([tube])) == {(0, -1): {"persons": "INVALID_FIELD"}}


HISTORY = (
    StandingChange(AUTHORIZED, NOW - 10 * DAY, "registered", NOW - 10 * DAY),
    StandingChange(SUSPENDED, NOW - 5 * DAY, "red light", NOW - 5 * DAY),
    StandingChange(WARNED, NOW - 2 * DAY, "yellow light", NOW - 2 * DAY),
)


@pytest.mark.parametrize(
    ("days_ago", "allowed"), [(11, False), (10, True), (6, True), (5, False), (3, False), (2, True), (0, True)]
)
def test_a_report_counts_by_the_standing_when_it_was_issued(days_ago: int, allowed: bool) -> None:
    """Today's standing does not count: a suspension leaves older reports valid, a reinstatement none in between."""
    validated = validate_batch([make_tube(reported=NOW - days_ago * DAY)], lab=make_lab("91220501MA0HUTNG0T", *HISTORY))
    assert reasons(validated) == ({} if allowed else {(0, -1): {"report_time": "LAB_NOT_AUTHORIZED"}})


def test_a_sampling_record_counts_by_the_standing_when_it_was_taken() -> None:
    tube = make_tube(outcome=PENDING, sampled=NOW - 4 * DAY)
    validated = validate_batch([tube], lab=make_lab("91220501MA0HUTNG0T", *HISTORY))
    assert reasons(validated) == {(0, -1): {"sample_time": "LAB_NOT_AUTHORIZED"}}


MARK = "机密Zq7Secret"
"""Part of every hostile value, so that rejections can be searched for it."""


@given(
    number=st.text(max_size=40),
    name=st.text(max_size=140),
    country=st.text(max_size=4),
    type_=st.integers(-1, 9),
    report_number=st.text(max_size=70),
    site=st.text(max_size=210),
)
def test_rejections_never_hold_what_was_sent(
    number: str, name: str, country: str, type_: int, report_number: str, site: str
) -> None:
    """Rejections contain no number, no name and no other text that the laboratory sent."""
    tube = make_tube(0, 2)
    tube.sample_region = MARK
    tube.tube_code = f"{MARK}\n{site[:20]}"
    tube.sample_site = f"{MARK}{site}"
    tube.persons[0].document.CopyFrom(
        identity_pb2.IdentityDocument(
            type=type_,  # type: ignore[arg-type] # hostile
            number=f"{MARK}{number}",
            issuing_country=f"{MARK}{country}",
            name=f"{MARK}{name}",
        )
    )
    tube.persons[0].report_number = f"{MARK}/{report_number}"
    # This number keeps the contract's rules and has a wrong check character.
    tube.persons[1].document.number = "410105186001010011"
    validated = validate_batch([tube])
    told = repr(validated.rejections)
    assert MARK not in told
    assert "410105186001010011" not in told
    assert make_document(1).name not in told
    assert not validated.results


def test_a_person_never_shows_in_a_repr() -> None:
    """A traceback or log line with a tube or a result contains no number and no name."""
    validated = validate_batch([make_tube(0, 2)])
    document = make_document(0)
    assert document.number not in repr(validated.results)
    assert document.name not in repr(validated.results)


@pytest.mark.parametrize("written", ["{}", "{}-1", "A/{}".replace("/", "_"), "no.{}"])
def test_a_documents_number_is_no_code_and_no_report_number(written: str) -> None:
    """Such texts would be stored and shown to all readers. Another person's number is refused too, and a small x."""
    number = make_document(7).number
    tubes = [make_tube(0, 2), make_tube(2), make_tube(3)]
    tubes[0].persons[1].report_number = written.format(number.lower())
    tubes[1].tube_code = written.format(number)
    validated = validate_batch(tubes)
    assert reasons(validated) == {
        (0, 1): {"persons[1].report_number": "INVALID_FIELD"},
        (1, -1): {"tube_code": "INVALID_FIELD"},
    }
    assert [row.report_number for row in validated.results] == ["R0", "R3"]
    assert number not in str(validated.rejections)


@pytest.mark.parametrize("code", ["20220811" + "0123456789", "1" * 18, "410105186001010010", "4" * 30, "R" * 40])
def test_any_other_long_code_is_the_laboratorys_own(code: str) -> None:
    """Dates and serial numbers, a wrong check character, more digits than a document has."""
    tube = make_tube(0)
    tube.tube_code = tube.persons[0].report_number = code
    assert not validate_batch([tube]).rejections
