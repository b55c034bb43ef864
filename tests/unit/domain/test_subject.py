"""Subject keys are plain HMAC-SHA-256; masks show no more than they say."""

from __future__ import annotations

import hmac

import pytest
from hutong.type.v1 import identity_pb2
from hypothesis import example, given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_11_2

from services.domain.document import PASSPORT, RESIDENT_ID_CARD, Document, canonical_document
from services.domain.subject import (
    KEY_LENGTH,
    NAME_HASH_LENGTH,
    Pepper,
    mask_free_text,
    mask_name,
    mask_number,
    mask_resident_numbers,
)

documents = st.builds(
    Document,
    st.sampled_from([RESIDENT_ID_CARD, PASSPORT]),
    st.text(min_size=1, max_size=30),
    st.sampled_from(["", "FRA"]),
)


@given(st.binary(min_size=1, max_size=200), documents)
@example(b"s" * 63, Document(1, "1"))
@example(b"s" * 64, Document(1, "1"))
@example(b"s" * 65, Document(1, "1"))
def test_a_subject_key_is_hmac_sha_256(secret: bytes, document: Document) -> None:
    """Secrets of any length give the key of the standard, so that any other implementation finds the same person."""
    said = f"{document.type}:{document.issuing_country}:{document.number}".encode()
    assert Pepper(secret).subject_key(document) == hmac.digest(secret, said, "sha256")[:KEY_LENGTH]


@given(documents)
def test_a_key_can_be_made_again_and_again(document: Document) -> None:
    """The state that is kept between keys never leaks from one into the next."""
    pepper = Pepper(b"p" * 32)
    first = pepper.subject_key(document)
    pepper.subject_key(Document(PASSPORT, "another", "DEU"))
    assert pepper.subject_key(document) == first


def test_another_secret_type_or_country_gives_another_key() -> None:
    """A number alone does not make a person."""
    document = Document(PASSPORT, "X0000001", "FRA")
    keys = {
        Pepper(b"p" * 32).subject_key(document),
        Pepper(b"q" * 32).subject_key(document),
        Pepper(b"p" * 32).subject_key(Document(RESIDENT_ID_CARD, "X0000001", "FRA")),
        Pepper(b"p" * 32).subject_key(Document(PASSPORT, "X0000001", "DEU")),
    }
    assert len(keys) == 4


@given(
    st.sampled_from(["410105", "810000", "820000", "830000", "911100"]),
    st.integers(0, 999),
    st.sampled_from([kind for kind in identity_pb2.DocumentType.values() if kind not in (0, 2, 3, 4, 5)]),
)
def test_a_number_of_gb_11643_is_one_subject_under_every_label(region: str, serial: int, label: int) -> None:
    """Labels that accept the number agree: a relabelled number is found."""
    body = f"{region}18860101{serial:03}"
    number = body + mod_11_2.calc_check_digit(body)
    keys = {Pepper(b"p" * 32).subject_key(canonical_document(type_, number)) for type_ in (RESIDENT_ID_CARD, label)}
    if region.startswith("8"):
        keys.add(Pepper(b"p" * 32).subject_key(canonical_document(identity_pb2.DOCUMENT_TYPE_RESIDENCE_PERMIT, number)))
    keys.add(Pepper(b"p" * 32).subject_key(canonical_document(PASSPORT, number, "FRA")))
    assert len(keys) == 1


def test_a_number_without_its_check_character_stays_in_the_class_of_its_label() -> None:
    """18 digits of another document are not a resident number by their length alone."""
    number = "810000186001010025"
    other, passport = (
        canonical_document(identity_pb2.DOCUMENT_TYPE_OTHER, number),
        canonical_document(PASSPORT, number, "FRA"),
    )
    assert Pepper(b"p" * 32).subject_key(other) != Pepper(b"p" * 32).subject_key(passport)


def test_a_pepper_never_shows_its_secret() -> None:
    """The secret is neither in the repr of the pepper nor in the repr of anything that contains the pepper."""
    pepper = Pepper(b"a very secret secret of 32 bytes")
    assert "secret" not in f"{pepper!r} {pepper} {[pepper]}"


@given(st.text(min_size=1, max_size=40))
def test_a_name_hash_needs_the_secret_and_ignores_spaces_and_case(name: str) -> None:
    """Two nodes with one pepper agree; without it nothing can be compared."""
    pepper = Pepper(b"p" * 32)
    assert pepper.name_hash(name) == pepper.name_hash(f" {name} ")
    if pepper.name_hash(name):
        assert len(pepper.name_hash(name)) == NAME_HASH_LENGTH
        assert pepper.name_hash(name) != Pepper(b"q" * 32).name_hash(name)
    assert pepper.name_hash("Wang Wu") == pepper.name_hash("WANGWU")


def test_no_name_has_no_hash() -> None:
    """A subject without a name equals no other by its name."""
    assert Pepper(b"p" * 32).name_hash("  ") == b""


@given(st.text(max_size=30))
def test_a_masked_name_shows_its_first_character_alone(name: str) -> None:
    """The name has any length and any script. Of a name of one character nothing is shown."""
    bare = name.strip()
    masked = mask_name(name)
    assert masked[:1] == (bare[:1] if len(bare) > 1 else "*" * len(bare))
    assert set(masked[1:]) <= {"*"}
    assert len(masked) == len(bare)


@given(st.text("0123456789XABC", max_size=30))
def test_a_masked_number_shows_four_characters_at_most(number: str) -> None:
    """Two at each end, and of a short one only the first; so no number of four is shown whole."""
    masked = mask_number(number)
    assert len(masked) == len(number)
    shown = [place for place, character in enumerate(masked) if character != "*"]
    assert shown == ([0, 1, len(number) - 2, len(number) - 1] if len(number) >= 8 else [0][: len(number)])
    assert all(masked[place] == number[place] for place in shown)


def test_masks_look_as_people_expect() -> None:
    """The masks are those of printed reports."""
    assert mask_name("张") == "*"
    assert (mask_name("张三丰"), mask_number("41010518800101001X")) == ("张**", "41**************1X")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("持 41010518800101001X 被拒", "持 41**************1X 被拒"),
        ("410105188001010019, 41010518800101001x", "41**************19, 41**************1x"),
        ("order 4101051880010100190", "order 4101051880010100190"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_numbers_in_what_people_write_are_masked(written: str, kept: str) -> None:
    """Resident identity card numbers alone: longer runs of digits are something else."""
    assert mask_resident_numbers(written) == kept


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("请回电 13800138000 谢谢", "请回电 *********00 谢谢"),
        ("+86 138-0013-8000", "+** ***-****-**00"),
        ("电话(0435)3512345", "电话(****)*****45"),
        ("010-66554433", "***-******33"),
        ("电话１３８　００１３－８０００", "电话***　****－**００"),
        ("证件４１０１０５１８８００１０１００１Ｘ", "证件４１**************１Ｘ"),
        ("电话010 6655 4433，身份证410105188001010019", "电话*** **** **33，身份证41**************19"),
        ("report 202208091234567, tube T13800138000", "report 202208091234567, tube T13800138000"),
        ("站前路100号3楼", "站前路100号3楼"),
        ("", ""),
    ],
)
def test_telephone_numbers_in_what_people_write_are_masked(written: str, kept: str) -> None:
    """Mobile numbers and landlines with area code, in groups or not; longer runs of digits are something else."""
    assert mask_free_text(written) == kept
