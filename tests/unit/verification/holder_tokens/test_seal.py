"""A holder's token: read by every node of the nation and nobody else, for 60 seconds and the clocks' difference."""

from __future__ import annotations

import pytest
from hutong.type.v1 import purpose_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.domain.base64url import decode_base64url, encode_base64url
from services.domain.errors import Violation
from services.domain.instant import SECOND
from services.domain.subject import Pepper, mask_name
from services.verification.holder_tokens.seal import CLOCK_SKEW, GOOD_FOR, HolderToken, TokenSeal
from tests.support.results.factories import NOW

KEY = b"k" * 16
SEAL = TokenSeal(Pepper(b"p" * 32))
NUMBERS = ("410105186001010019", "E12345678")
HOTEL, VENUE = purpose_pb2.PURPOSE_HOTEL, purpose_pb2.PURPOSE_PUBLIC_VENUE


def read(text: str, purpose: int = HOTEL, now: int = NOW, seal: TokenSeal = SEAL) -> HolderToken | str:
    """Return the content of a token, or the reason why it is not accepted."""
    found: list[Violation] = []
    token = seal.read(text, purpose, now, found)
    if token is not None:
        assert not found
        return token
    (violation,) = found
    assert violation.field == "holder_token"
    return violation.reason


@given(
    st.binary(min_size=16, max_size=16),
    st.sampled_from((*NUMBERS, "A" * 32)),
    st.text(max_size=128),
    st.sampled_from([0, HOTEL]),
)
def test_every_node_reads_what_one_issued(subject_key: bytes, number: str, name: str, purpose: int) -> None:
    text = SEAL.issue([subject_key], number, mask_name(name), purpose, NOW)
    assert len(text) <= 512
    token = read(text, seal=TokenSeal(Pepper(b"p" * 32)))
    assert isinstance(token, HolderToken)
    assert token[1:] == (subject_key, mask_name(name), purpose, NOW, b"", number)
    assert number not in repr(token)
    assert mask_name(name) == "" or mask_name(name) not in repr(token)


@pytest.mark.parametrize(
    ("after", "is_good"),
    [
        (-CLOCK_SKEW, True),
        (-CLOCK_SKEW - 1, False),
        (GOOD_FOR, True),
        (GOOD_FOR + CLOCK_SKEW, True),
        (GOOD_FOR + CLOCK_SKEW + 1, False),
    ],
)
def test_a_token_ends(after: int, is_good: bool) -> None:
    found = read(SEAL.issue([KEY], "", "", 0, NOW), now=NOW + after)
    assert isinstance(found, HolderToken) if is_good else found == "HOLDER_TOKEN_EXPIRED"
    assert (GOOD_FOR, CLOCK_SKEW) == (60 * SECOND, 30 * SECOND)


def test_a_token_may_be_for_one_purpose() -> None:
    assert read(SEAL.issue([KEY], "", "", VENUE, NOW)) == "HOLDER_TOKEN_OTHER_PURPOSE"
    assert isinstance(read(SEAL.issue([KEY], "", "", VENUE, NOW), VENUE), HolderToken)


# Issued once, because a token is random and the examples depend on its letters.
ISSUED = SEAL.issue([KEY], NUMBERS[0], "张*", 0, NOW)


@given(st.data())
def test_a_changed_or_cut_token_is_invalid(data: st.DataObject) -> None:
    text = ISSUED
    place = data.draw(st.integers(0, len(text) - 1))
    cut = text[:place]
    changed = cut + data.draw(st.sampled_from("Az09_-*=张").filter(lambda it: it != text[place])) + text[place + 1 :]
    # The last letter has bits that encode nothing.
    assert read(changed) == "HOLDER_TOKEN_INVALID" or place == len(text) - 1
    assert read(cut) == "HOLDER_TOKEN_INVALID"


def test_a_token_of_an_older_form_is_invalid() -> None:
    """A token without a number has another form, so that no process takes the number for a part of the name."""
    raw = decode_base64url(SEAL.issue([KEY], NUMBERS[0], "张*", 0, NOW))
    assert raw[0] == 3
    for form in (0, 1, 2, 4, 5):
        assert read(encode_base64url(bytes([form]) + raw[1:])) == "HOLDER_TOKEN_INVALID"


def test_a_token_of_another_nation_is_invalid_and_two_tokens_differ() -> None:
    text = SEAL.issue([KEY], "", "", 0, NOW)
    assert read(text, seal=TokenSeal(Pepper(b"q" * 32))) == "HOLDER_TOKEN_INVALID"
    assert read(text, seal=TokenSeal(Pepper(b"p" * 32, version=2))) == "HOLDER_TOKEN_INVALID"
    again = SEAL.issue([KEY], "", "", 0, NOW)
    one, other = read(text), read(again)
    assert isinstance(one, HolderToken)
    assert isinstance(other, HolderToken)
    assert one.token_id != other.token_id


def test_a_token_has_a_key_of_each_version_while_the_pepper_rotates() -> None:
    """A node reads the keys of those versions that it has, the one that it writes first."""
    old, new = Pepper(b"p" * 32), Pepper(b"q" * 32, version=2)
    old_new, new_old = Pepper(old.secret, 1, new), Pepper(new.secret, 2, old)
    keys = {1: b"1" * 16, 2: b"2" * 16}
    expected = {
        (old, old): (1,),
        (old, old_new): (1,),
        (old, new_old): (1,),
        (old_new, old): (1,),
        (old_new, new_old): (2, 1),
        (old_new, old_new): (1, 2),
        (new_old, old_new): (1, 2),
        (new_old, new): (2,),
        (new, new_old): (2,),
    }
    for (issuer, reader), versions in expected.items():
        text = TokenSeal(issuer).issue([keys[one.version] for one in issuer.versions], NUMBERS[0], "张*", 0, NOW)
        token = read(text, seal=TokenSeal(reader))
        assert isinstance(token, HolderToken)
        found = [key for key in (token.subject_key, token.other_key) if key]
        expected_keys = [keys[version] for version in versions]
        assert (found, token.masked_name, token.number) == (expected_keys, "张*", NUMBERS[0])
    text = TokenSeal(old).issue([keys[1]], "", "", 0, NOW)
    assert read(text, seal=TokenSeal(new)) == "HOLDER_TOKEN_INVALID"
