"""Sub-keys are HKDF-SHA256 as RFC 5869 defines it, and no two of them are equal."""

from __future__ import annotations

import hmac
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from services.domain.subkeys import SUBKEY_LENGTH, Purpose, subkey

uses = st.tuples(st.binary(max_size=80), st.sampled_from(Purpose), st.integers(1, 9), st.sampled_from(["", "a", "b"]))


@given(uses)
def test_a_sub_key_is_hkdf_of_rfc_5869(use: tuple[bytes, Purpose, int, str]) -> None:
    """The two steps of the RFC, so that any other implementation derives the same key."""
    secret, purpose, version, part = use
    extracted = hmac.digest(bytes(32), secret, sha256)
    info = f"hutong/{purpose.value}/{version}/{part}".encode()
    assert subkey(*use) == hmac.digest(extracted, info + b"\x01", sha256)[:SUBKEY_LENGTH]


@given(uses, uses)
def test_two_uses_have_two_keys(one: tuple[bytes, Purpose, int, str], other: tuple[bytes, Purpose, int, str]) -> None:
    """A key of one purpose, version, part or secret is of no use for another."""
    # HMAC pads a key with zero bytes, so secrets that differ in zeros at the end alone are one secret.
    one, other = (one[0].rstrip(b"\0"), *one[1:]), (other[0].rstrip(b"\0"), *other[1:])
    assert (subkey(*one) == subkey(*other)) is (one == other)
