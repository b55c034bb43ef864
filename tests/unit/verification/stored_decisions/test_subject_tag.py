"""Whether a stored decision is of a subject can be checked with the document, and only for that subject."""

from __future__ import annotations

from services.domain.subject import Pepper
from services.verification.stored_decisions.subject_tag import is_tagged, subject_tag

PEPPER = Pepper(b"p" * 32)
FIRST, SECOND = "01890000-0000-7000-8000-000000000001", "01890000-0000-7000-8000-000000000002"
SOMEBODY, ANOTHER = b"s" * 16, b"a" * 16


def test_a_decision_is_of_the_person_it_was_made_for() -> None:
    """The decision is of that person, and not of another one."""
    kept = subject_tag(FIRST, SOMEBODY, PEPPER)
    assert is_tagged(kept, FIRST, [SOMEBODY], PEPPER) is True
    assert is_tagged(kept, FIRST, [ANOTHER], PEPPER) is False


def test_two_decisions_of_one_person_show_nothing_in_common() -> None:
    """A table of decisions does not show where one person went."""
    assert subject_tag(FIRST, SOMEBODY, PEPPER).key != subject_tag(SECOND, SOMEBODY, PEPPER).key


def test_what_was_kept_before_cannot_be_compared() -> None:
    """Without a key, or with one under another pepper, it is not said whose a decision is."""
    assert is_tagged(None, FIRST, [SOMEBODY], PEPPER) is None
    older = subject_tag(FIRST, SOMEBODY, Pepper(b"o" * 32, version=0))
    assert is_tagged(older, FIRST, [SOMEBODY], PEPPER) is None


def test_a_tag_is_compared_under_its_own_key_version() -> None:
    """While the key rotates, a decision of either version belongs to the person, and never to another one."""
    old, new = Pepper(b"o" * 32), Pepper(b"n" * 32, version=2)
    for writes, reads in [(old, new), (new, old)]:
        pepper = Pepper(writes.secret, writes.version, reads)
        keys = [SOMEBODY, b"t" * 16]
        for made_with, key in [(writes, keys[0]), (reads, keys[1])]:
            kept = subject_tag(FIRST, key, made_with)
            assert is_tagged(kept, FIRST, keys, pepper) is True
            assert is_tagged(kept, FIRST, [ANOTHER, b"b" * 16], pepper) is False
            assert is_tagged(kept, SECOND, keys, pepper) is False
