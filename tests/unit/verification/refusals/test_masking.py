"""Texts that people write are stored without names and document numbers."""

from __future__ import annotations

import pytest

from services.verification.refusals.masking import mask_identity


def test_a_statement_keeps_no_identity() -> None:
    """The person's own number and name are masked, and so is any other resident ID number."""
    said = mask_identity("我叫张三丰，410105186001010019，同行220502187003030031x", "410105186001010019", "张三丰")
    assert "张三丰" not in said
    assert "1860" not in said
    assert "1870" not in said


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("my number is 410105 18600101 001x", "my number is 4*******************"),
        ("４１０１０５１８６００１０１００１Ｘ", "４*****************"),
        ("410105-18600101-001X, Anna-Maria  SCHMIDT", "4*******************, A******************"),
        ("同行 220502 18700303 0306，电话 13800138000", "同行 2*******************，电话 *********00"),
        ("annamaria schmidt's policeman has 12 34 56 78 90 12 34 56 78", "a****************'s policeman has "),
    ],
)
def test_identities_are_masked_however_they_are_spelled(said: str, kept: str) -> None:
    """Identities are masked in groups, in full width and in small letters.

    A text that only looks like a number stays.
    """
    masked = mask_identity(said, "41010518600101001X", "Anna Maria Schmidt")
    assert masked.startswith(kept)
    assert len(masked) == len(said)


@pytest.mark.parametrize(
    "name", ["O'Brien", "Sean O’Brien", "买买提•吐尔逊", "བསྟན་འཛིན་", "Jose\u0301", "ﬁona", "a^]\\b", "[]^", "😀😀"]
)
def test_names_of_any_characters_are_masked(name: str) -> None:
    """Names are masked as they are written, in any characters."""
    assert mask_identity(f"我叫{name}，不认", "", name) == f"我叫{name[0]}{'*' * (len(name) - 1)}，不认"


def test_numbers_with_brackets_are_masked() -> None:
    """Numbers are masked as the document has them, and without brackets."""
    assert mask_identity("my A123456(3), A1234563", "A123456(3)") == "my A*********, A*******"


@pytest.mark.parametrize("before", ["In 2022 ", "gate 10 ", "6 of 12: "])
@pytest.mark.parametrize("written", ["410105 18600101 0019", "4101 0518 6001 0100 19"])
def test_a_number_before_a_number_does_not_hide_it(before: str, written: str) -> None:
    """Another person's number, written in groups."""
    assert mask_identity(f"{before}{written} came") == f"{before}4{'*' * (len(written) - 1)} came"


def test_a_short_name_is_masked_as_a_word_alone() -> None:
    """A name of two letters stands in many words."""
    assert mask_identity("Li told the police: I am li.", "", "Li") == "L* told the police: I am l*."
    assert mask_identity("张三说张三丰不是他", "", "张三") == "张*说张*丰不是他"
