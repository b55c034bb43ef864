"""Whose a stored decision is, can be told of a person at hand and of nobody else."""

from __future__ import annotations

from services.domain.subject import Pepper
from services.verification.verify.subject_key import is_of, person_key

PEPPER = Pepper(b"p" * 32)
FIRST, SECOND = "01890000-0000-7000-8000-000000000001", "01890000-0000-7000-8000-000000000002"
SOMEBODY, ANOTHER = b"s" * 16, b"a" * 16


def test_a_decision_is_of_the_person_it_was_made_for() -> None:
    """Of that person, and not of another one."""
    kept = person_key(FIRST, SOMEBODY, PEPPER)
    assert is_of(kept, FIRST, SOMEBODY, PEPPER) is True
    assert is_of(kept, FIRST, ANOTHER, PEPPER) is False


def test_two_decisions_of_one_person_show_nothing_in_common() -> None:
    """A table of decisions does not tell where one person went."""
    assert person_key(FIRST, SOMEBODY, PEPPER).key != person_key(SECOND, SOMEBODY, PEPPER).key


def test_what_was_kept_before_cannot_be_compared() -> None:
    """Without a key, or with one under another pepper, it is not said whose a decision is."""
    assert is_of(None, FIRST, SOMEBODY, PEPPER) is None
    older = person_key(FIRST, SOMEBODY, Pepper(b"o" * 32, version=0))
    assert is_of(older, FIRST, SOMEBODY, PEPPER) is None
