"""Identity documents: what passes, what two spellings share, and that a number never shows."""

from __future__ import annotations

import pickle

import pytest
from hutong.type.v1 import identity_pb2
from hypothesis import given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_11_2

from services.domain.document import (
    FOREIGN_PERMANENT_RESIDENT_CARD,
    HK_MACAO_TRAVEL_PERMIT,
    PASSPORT,
    RESIDENCE_PERMIT,
    RESIDENT_ID_CARD,
    TAIWAN_TRAVEL_PERMIT,
    BadDocument,
    Document,
    canonical_document,
    has_check_character,
)

OTHER = identity_pb2.DOCUMENT_TYPE_OTHER
CHECK_CHARACTERS = "0123456789X"
bodies = st.text("0123456789", min_size=17, max_size=17)


def with_check_character(body: str) -> str:
    """A body of 17 digits and the check character that python-stdnum computes for it."""
    return body + mod_11_2.calc_check_digit(body)


def cards(region: str = "410105") -> st.SearchStrategy[str]:
    """Numbers of people of one county who were born in 1880."""
    return st.integers(0, 999).map(lambda serial: with_check_character(f"{region}18800101{serial:03}"))


@given(bodies, st.sampled_from(CHECK_CHARACTERS))
def test_the_check_character_is_iso_7064_mod_11_2(body: str, last: str) -> None:
    """For any 17 digits and any last character, Hutong's answer equals that of python-stdnum."""
    assert has_check_character(body + last) == mod_11_2.is_valid(body + last)


@given(bodies)
def test_exactly_one_check_character_fits(body: str) -> None:
    """Of the eleven characters, one fits."""
    assert [last for last in CHECK_CHARACTERS if has_check_character(body + last)] == [mod_11_2.calc_check_digit(body)]


@given(bodies, st.integers(0, 16), st.integers(1, 9))
def test_one_wrong_digit_is_found(body: str, place: int, shift: int) -> None:
    """A digit that was misread is never let through."""
    number = with_check_character(body)
    wrong = number[:place] + str((int(number[place]) + shift) % 10) + number[place + 1 :]
    with pytest.raises(BadDocument):
        canonical_document(RESIDENT_ID_CARD, wrong)


@given(bodies, st.integers(0, 15))
def test_two_digits_exchanged_are_found(body: str, place: int) -> None:
    """Two neighbours in the wrong order are never let through, unless they are the same."""
    number = with_check_character(body)
    swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
    assert swapped == number or not has_check_character(swapped)


@given(cards(), st.lists(st.integers(0, 18), max_size=4))
def test_spaces_and_small_letters_do_not_matter(number: str, gaps: list[int]) -> None:
    """Two spellings of one card have one canonical form."""
    spelling = number.lower()
    for gap in gaps:
        spelling = spelling[:gap] + " " + spelling[gap:]
    assert canonical_document(RESIDENT_ID_CARD, spelling) == Document(RESIDENT_ID_CARD, number)


@pytest.mark.parametrize("region", ["810000", "820000", "830000"])
def test_residence_permits_of_hong_kong_macao_and_taiwan_pass(region: str) -> None:
    """The region of these permits has no county. This is not a fault of the holder."""
    number = with_check_character(f"{region}18800101001")
    assert canonical_document(RESIDENCE_PERMIT, number).number == number


def test_a_residence_permit_of_another_region_is_refused() -> None:
    """A card of Zhengzhou is no residence permit."""
    with pytest.raises(BadDocument, match="810000"):
        canonical_document(RESIDENCE_PERMIT, with_check_character("41010518800101001"))


@pytest.mark.parametrize(
    ("type_", "spellings"),
    [
        (HK_MACAO_TRAVEL_PERMIT, ["H00000001", "H0000000100", "h0000000107", "H 0000 0001"]),
        (HK_MACAO_TRAVEL_PERMIT, ["M99999999", "M9999999901"]),
        (TAIWAN_TRAVEL_PERMIT, ["00000001", "0000000101", "000000019", "0000000102(B)", "0000000102 (b)"]),
    ],
)
def test_reissue_digits_are_ignored(type_: int, spellings: list[str]) -> None:
    """A permit that was issued again is the same person's permit."""
    assert len({canonical_document(type_, spelling) for spelling in spellings}) == 1


def test_other_permits_stay_apart() -> None:
    """Only the reissue is ignored, so the numbers of two permits for life never become one."""
    assert canonical_document(HK_MACAO_TRAVEL_PERMIT, "H00000001") != canonical_document(
        HK_MACAO_TRAVEL_PERMIT, "H00000011"
    )


def test_a_passport_needs_its_country() -> None:
    """The same number in two countries belongs to two people. A passport without a country is refused."""
    with pytest.raises(BadDocument) as caught:
        canonical_document(PASSPORT, "X0000001")
    assert caught.value.field == "issuing_country"
    assert canonical_document(PASSPORT, "X0000001", "FRA") != canonical_document(PASSPORT, "X0000001", "DEU")


@pytest.mark.parametrize("type_", [RESIDENT_ID_CARD, HK_MACAO_TRAVEL_PERMIT, OTHER])
def test_only_a_passport_names_a_country(type_: int) -> None:
    """A country elsewhere would split one person into two."""
    number: dict[int, str] = {
        RESIDENT_ID_CARD: with_check_character("41010518800101001"),
        HK_MACAO_TRAVEL_PERMIT: "H00000001",
    }
    with pytest.raises(BadDocument) as caught:
        canonical_document(type_, number.get(type_, "ANY-1"), "CHN")
    assert caught.value.field == "issuing_country"


def test_foreign_permanent_resident_cards_of_both_kinds_pass() -> None:
    """The older card has letters and no check character, the newer one is like a resident's card."""
    newer = with_check_character("91110018800101001")
    assert canonical_document(FOREIGN_PERMANENT_RESIDENT_CARD, "fra110000000001").number == "FRA110000000001"
    assert canonical_document(FOREIGN_PERMANENT_RESIDENT_CARD, newer).number == newer
    with pytest.raises(BadDocument):
        canonical_document(FOREIGN_PERMANENT_RESIDENT_CARD, newer[:17] + CHECK_CHARACTERS[newer[17] == "0"])


@given(
    st.sampled_from(
        [
            RESIDENT_ID_CARD,
            HK_MACAO_TRAVEL_PERMIT,
            TAIWAN_TRAVEL_PERMIT,
            RESIDENCE_PERMIT,
            PASSPORT,
            FOREIGN_PERMANENT_RESIDENT_CARD,
        ]
    ),
    st.text(min_size=1, max_size=24) | bodies,
    st.sampled_from(["", "FRA"]),
)
def test_a_bad_document_never_holds_the_number(type_: int, number: str, country: str) -> None:
    """Whatever was sent: it is refused without repeating it, or accepted without showing it."""
    secret = "SECRET" + number
    try:
        document = canonical_document(type_, secret, country)
    except BadDocument as error:
        told = f"{error} {error!r} {error.args} {error.field} {error.expected} {vars(error)}"
        assert "SECRET" not in told
    else:
        assert type_ == PASSPORT
        assert "SECRET" not in f"{document} {document!r} {[document]}"


@given(cards())
def test_a_repr_never_holds_the_number(number: str) -> None:
    """The number is neither in the repr of the document nor in the repr of anything that contains the document."""
    document = canonical_document(RESIDENT_ID_CARD, number)
    assert number not in f"{document!r} {document} {(document,)!r}"


@pytest.mark.parametrize("foreign", ["１", "١", "१", "Ⅰ", "①"])
def test_digits_of_other_scripts_are_no_digits(foreign: str) -> None:
    """Full-width and foreign digits are refused, not taken for others."""
    with pytest.raises(BadDocument):
        canonical_document(RESIDENT_ID_CARD, with_check_character("41010518800101001").replace("1", foreign, 1))


def test_a_document_survives_pickling() -> None:
    """Judging processes get documents by pickle, and they mean the same there."""
    document = Document(PASSPORT, "X0000001", "FRA")
    assert pickle.loads(pickle.dumps(document)) == document
