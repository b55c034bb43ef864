"""One normal form for the name of a person, however it was printed or typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.person_name import has_person_name_form, person_name_form
from services.domain.subject import KEY_LENGTH, NAME_HASH_LENGTH, Pepper, is_comparable

PEPPER = Pepper(b"p" * 32)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("张三", "张 三"),
        ("张三", "张\u3000三\u200b"),
        ("ＷＡＮＧ Ｗｕ", "wang wu"),
        ("WANG, WU", "Wang Wu"),
        ("O'Brien-Smith", "OBRIEN SMITH"),
        ("阿不都·热西提", "阿不都•热西提"),
        ("阿不都·热西提", "阿不都・热西提"),
        ("阿不都·热西提", "阿不都.热西提"),
        ("阿不都·热西提", "阿不都热西提"),
        ("黃真", "黄眞"),
        ("\uf90a", "金"),
        ("葛\U000e0100", "葛"),
        ("\ue863", "\u4dae"),
        ("\ue81e", "\u9fb4"),
        ("José", "Jose\u0301"),
        ("Straße", "STRASSE"),
    ],
)
def test_printers_write_one_name_in_many_ways(one: str, other: str) -> None:
    assert person_name_form(one) == person_name_form(other) != ""
    assert PEPPER.name_hash(one) == PEPPER.name_hash(other)


@pytest.mark.parametrize(("one", "other"), [("张三", "张四"), ("张三", "三张"), ("Jose", "José"), ("张伟", "張偉")])
def test_similar_names_differ(one: str, other: str) -> None:
    assert PEPPER.name_hash(one) != PEPPER.name_hash(other)


@pytest.mark.parametrize("name", ["", " ", "\u3000", "·", "张**", "张＊", "-"])
def test_a_mask_and_a_text_without_letters_are_no_name(name: str) -> None:
    assert person_name_form(name) == ""
    assert PEPPER.name_hash(name) == b""
    assert PEPPER.hash_stated_name(name)[1] == b""


@given(st.text(max_size=40))
def test_the_form_of_a_form_is_the_form(name: str) -> None:
    form = person_name_form(name)
    assert person_name_form(form) == form
    assert has_person_name_form(name) == (form != "")
    assert person_name_form(f" {name}\u3000") == form


@given(st.text(max_size=40))
def test_a_laboratory_and_a_gate_hash_alike(name: str) -> None:
    """The hash has the version of the form, so that hashes of other versions and of before are not compared."""
    stated, hashed = PEPPER.hash_stated_name(name)
    assert hashed == PEPPER.name_hash(name)
    assert is_comparable(hashed) == bool(hashed)
    assert not is_comparable(stated)
    assert not is_comparable(b"\xff" + hashed[1:])
    assert len(hashed) in (0, NAME_HASH_LENGTH)
    assert len(stated) in (0, KEY_LENGTH)


def test_ascii_takes_a_shorter_way_to_the_same_form() -> None:
    """A character that is not ASCII makes the whole text take the long way."""
    for character in map(chr, range(128)):
        if character != "*":
            assert f"{person_name_form(f'a{character}b')}张" == person_name_form(f"a{character}b张"), ascii(character)
