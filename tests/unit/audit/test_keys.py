"""Tests of the audit's keyed hashes: what they tell apart, and what they keep apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.keys import AuditKeys, day_of
from services.audit.rows import BEGINNING, chain_rows, row_text
from services.domain.instant import DAY, HOUR
from services.runtime.audit import AuditEvent

SECRET = b"s" * 32
KEYS = AuditKeys.of_secret(SECRET, "results")
LAB = "labs/91410100MA0000001X"
EVENT = AuditEvent(
    1, 0, "id", "gate", "gates/410100/7", "", "ipv4:1", "s/M", 3, "410105", "", b"t" * 16, 0, "RECOGNIZED", 1, "case-1"
)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.integers(18_000, 22_000))
def test_a_tag_is_of_one_person_one_day_and_one_service(key: bytes, other: bytes, day: int) -> None:
    """The same person has another tag on the next day, so that a table of tags shows no paths over days."""
    tag = KEYS.subject_tag(key, day)
    assert tag == AuditKeys.of_secret(SECRET, "results").subject_tag(key, day)
    assert (tag == KEYS.subject_tag(other, day)) == (key == other)
    assert tag != KEYS.subject_tag(key, day + 1)
    assert tag != AuditKeys.of_secret(SECRET, "verification").subject_tag(key, day)
    assert tag != AuditKeys.of_secret(b"o" * 32, "results").subject_tag(key, day)


def test_days_begin_at_midnight_in_china() -> None:
    midnight = 19_000 * DAY - 8 * HOUR
    assert (day_of(midnight - 1), day_of(midnight)) == (18_999, 19_000)


@pytest.mark.parametrize(
    "name",
    [
        LAB,
        f"{LAB}/uploads/day-1",
        "nodes/410000",
        "jurisdictions/410100/policies/entry",
        "jurisdictions/410100/policies/entry@3",
    ],
)
def test_names_of_no_person_are_stored_as_they_are(name: str) -> None:
    assert KEYS.name_object(name) == name


@pytest.mark.parametrize(
    ("name", "collection"),
    [
        (f"{LAB}/results/R1", "results"),
        (f"{LAB}/missingReports/R1", "missingReports"),
        ("decisions/0192f0c1-0000-7000-8000-000000000000", "decisions"),
        ("refusals/0192f0c1-0000-7000-8000-000000000000", "refusals"),
    ],
)
def test_names_that_point_to_a_person_are_hashed(name: str, collection: str) -> None:
    stored = KEYS.name_object(name)
    assert stored == f"{collection}/{KEYS.hide(name)}"
    assert "R1" not in stored
    assert len(KEYS.hide(name)) == 32


@pytest.mark.parametrize(
    "text",
    [
        "410105186001010019",
        "labs/410105186001010019",
        "labs/410105186001010019/x",
        f"{LAB}/uploads/of-410105186001010019",
        "\0",
        "nodes/410000\n",
    ],
)
def test_what_is_no_name_is_not_stored(text: str) -> None:
    """The caller of a refused call may have sent anything."""
    assert KEYS.name_object(text) == ""


@given(st.sampled_from(range(len(AuditEvent._fields))), st.integers(1, 9))
def test_no_field_of_a_row_can_change_without_its_digest(field: int, sequence: int) -> None:
    value = EVENT[field]
    other = value + 1 if isinstance(value, int) else (b"u" * 16 if isinstance(value, bytes) else value + "1")
    changed = AuditEvent(*(*EVENT[:field], other, *EVENT[field + 1 :]))
    text = row_text(1, sequence, EVENT)
    assert row_text(1, sequence, changed) != text
    assert row_text(2, sequence, EVENT) != text
    assert chain_rows(BEGINNING, [text]) != chain_rows(BEGINNING, [row_text(1, sequence, changed)])


def test_a_row_without_a_case_has_the_digest_of_rows_before_cases() -> None:
    """Rows that were stored before keep theirs."""
    text = row_text(1, 1, EVENT._replace(case_id=""))
    assert chain_rows(BEGINNING, [text]) == chain_rows(BEGINNING, [text.removesuffix("\t")])
    assert text.removesuffix("\t").endswith("\tRECOGNIZED\t1")


def test_a_digest_depends_on_all_rows_and_their_order() -> None:
    assert chain_rows(BEGINNING, ["a", "b"]) == chain_rows(chain_rows(BEGINNING, ["a"]), ["b"])
    assert chain_rows(BEGINNING, ["a", "b"]) != chain_rows(BEGINNING, ["b", "a"])


def test_the_newest_key_opens_all_earlier_ones() -> None:
    """Each is encrypted under the next one, so two changes of the pepper are no more than one."""
    first, second, third = (AuditKeys.of_secret(bytes([number]) * 32, "results", number) for number in (1, 2, 3))
    opened = third.unwrap(third.wrap(second))
    assert opened == second.key
    assert AuditKeys(opened, 2).unwrap(second.wrap(first)) == first.key
    assert third.unwrap(second.wrap(first)) is None
    assert third.unwrap(b"short") is None
    assert [one.version for one in third.with_other(first).with_other(second).versions] == [1, 2, 3]
