"""A laboratory's standing at an instant, given a history recorded in any order."""

from __future__ import annotations

from hutong.results.v1 import lab_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.results.labs.model import StandingChange
from tests.support.results.factories import make_lab

AUTHORIZED = lab_pb2.LAB_STANDING_AUTHORIZED
SUSPENDED = lab_pb2.LAB_STANDING_SUSPENDED
REVOKED = lab_pb2.LAB_STANDING_REVOKED
WARNED = lab_pb2.LAB_STANDING_WARNED


def standing(instant: int, *entries: tuple[int, int | None]) -> int:
    """Return the standing at an instant, given entries of (standing, effective time) in the order of recording."""
    changes = [StandingChange(each, effective, "", index) for index, (each, effective) in enumerate(entries)]  # type: ignore[arg-type]
    return make_lab("91220501MA0HUTNG0T", *changes).standing_at(instant)


def test_an_entry_holds_from_its_instant_on() -> None:
    entries = [(AUTHORIZED, None), (SUSPENDED, 100), (AUTHORIZED, 200)]
    assert [standing(at, *entries) for at in (-5, 99, 100, 199, 200)] == [
        AUTHORIZED,
        AUTHORIZED,
        SUSPENDED,
        SUSPENDED,
        AUTHORIZED,
    ]


def test_before_it_was_authorised_it_could_not_report() -> None:
    assert standing(99, (AUTHORIZED, 100)) == REVOKED
    assert standing(100, (AUTHORIZED, 100)) == AUTHORIZED


def test_of_two_entries_of_one_instant_the_later_recorded_holds() -> None:
    assert standing(100, (AUTHORIZED, None), (SUSPENDED, 100), (WARNED, 100)) == WARNED
    assert standing(100, (AUTHORIZED, None), (WARNED, 100), (SUSPENDED, 100)) == SUSPENDED


def test_an_entry_recorded_late_for_an_earlier_instant_holds_only_until_the_next() -> None:
    entries = [(AUTHORIZED, None), (WARNED, 200), (SUSPENDED, 100)]
    assert [standing(at, *entries) for at in (99, 100, 200)] == [AUTHORIZED, SUSPENDED, WARNED]


histories = st.lists(
    st.tuples(st.sampled_from([AUTHORIZED, WARNED, SUSPENDED, REVOKED]), st.none() | st.integers(0, 6)),
    min_size=1,
    max_size=6,
)


@given(histories, st.integers(-1, 8))
def test_standing_is_that_of_the_greatest_effective_time_then_the_latest_entry(
    entries: list[tuple[int, int | None]], instant: int
) -> None:
    """Compares with a direct computation of what the contract says."""
    began = [(-1 if at is None else at, index, each) for index, (each, at) in enumerate(entries)]
    counting = [entry for entry in began if entry[0] == -1 or entry[0] <= instant]
    assert standing(instant, *entries) == (max(counting)[2] if counting else REVOKED)
