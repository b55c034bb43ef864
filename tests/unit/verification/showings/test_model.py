"""Tests what is remembered of a shown report, and when a later showing does not fit it."""

from __future__ import annotations

from hutong.verification.v1.evidence_flag_pb2 import EvidenceFlagKind
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.instant import MINUTE, SECOND, Instant
from services.domain.subject import Pepper
from services.verification.decision.model import NEGATIVE, Evidence
from services.verification.showings.model import (
    OTHER_PERSON,
    OTHER_TIMES,
    compare,
    from_bits,
    has_no_digit,
    tags_of,
    to_bits,
)

PEPPER = Pepper(b"p" * 32)
NOON: Instant = 1_660_190_400_000_000
LAB = "91410100MA0000001X"
PERSON, STRANGER = b"k" * 16, b"o" * 16
times = st.none() | st.integers(0, 5).map(lambda minutes: NOON + minutes * MINUTE)
kinds = st.sets(st.sampled_from(EvidenceFlagKind.values()[1:]))


def paper(sampled: Instant | None, reported: Instant | None, number: str = "R1", channel: int = 7) -> Evidence:
    return Evidence(channel, f"labs/{LAB}", number, NEGATIVE, sampled, reported)  # type: ignore[arg-type]


@settings(max_examples=50)
@given(times, times, times, times, st.booleans())
def test_a_showing_fits_unless_the_person_or_a_shown_time_differs(
    sampled: Instant | None,
    reported: Instant | None,
    sampled_later: Instant | None,
    reported_later: Instant | None,
    is_same: bool,
) -> None:
    """Comparing is symmetric, and what is not shown contradicts nothing."""
    first = tags_of(LAB, paper(sampled, reported), PERSON, PEPPER)
    later = tags_of(LAB, paper(sampled_later, reported_later), PERSON if is_same else STRANGER, PEPPER)
    differ = any(
        None not in (one, other) and one != other
        for one, other in ((sampled, sampled_later), (reported, reported_later))
    )
    found = set(compare(first, later))
    assert found == ({OTHER_TIMES} if differ else set()) | (set() if is_same else {OTHER_PERSON})
    assert found == set(compare(later, first))


@settings(max_examples=30)
@given(st.integers(0, 59), st.integers(0, 59), st.integers(1, 8))
def test_seconds_and_the_channel_change_nothing(one: int, other: int, channel: int) -> None:
    """Paper prints no seconds."""
    first = tags_of(LAB, paper(NOON + one * SECOND, None), PERSON, PEPPER)
    assert first == tags_of(LAB, paper(NOON + other * SECOND, None, channel=channel), PERSON, PEPPER)


def test_hashes_of_two_reports_of_one_person_have_nothing_in_common() -> None:
    """Hashes under another pepper have nothing in common either. No hash contains the subject key itself."""
    first = tags_of(LAB, paper(NOON, NOON), PERSON, PEPPER)
    others = [
        tags_of(LAB, paper(NOON, NOON, "R2"), PERSON, PEPPER),
        tags_of("92410100MA0000001A", paper(NOON, NOON), PERSON, PEPPER),
        tags_of(LAB, paper(NOON, NOON), PERSON, Pepper(b"q" * 32)),
        tags_of(LAB, paper(NOON, NOON), PERSON, Pepper(b"p" * 32, 2)),
    ]
    hashes = [value for tags in (first, *others) for value in tags[1:]]
    assert len(set(hashes)) == len(hashes)
    assert PERSON not in hashes
    assert first.sample_time != first.report_time


@settings(max_examples=30)
@given(kinds)
def test_kinds_come_back_from_their_bits(found: set[int]) -> None:
    assert set(from_bits(to_bits(found))) == found  # type: ignore[arg-type]


def test_a_number_needs_one_digit() -> None:
    """A digit of any script counts, because the number is compared in NFKC."""
    assert [has_no_digit(number) for number in ("", "ABC", "核酸", "AB1", "R-٣")] == [False, True, True, False, False]
