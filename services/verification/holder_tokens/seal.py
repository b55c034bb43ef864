"""Encrypts and reads holders' tokens (docs/identifiers.md §9).

A token is encoded in base64url without padding. Its first byte is the form, which gives the number of subject keys in
the token: two while the pepper rotates and otherwise one. Then comes the key version of each subject key, in one byte
each, then a nonce, then the content. The content is encrypted by AES-256-GCM with the sub-key of the first of these
versions. The form and the versions are authenticated too.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hutong_texts import english

from services.domain.base64url import decode_base64url, encode_base64url
from services.domain.errors import Violation
from services.domain.instant import SECOND, Instant, Span
from services.domain.subject import KEY_LENGTH, Pepper
from services.domain.subkeys import Purpose

GOOD_FOR: Span = 60 * SECOND
"""How long a code page shows a token before it asks for a new one."""
CLOCK_SKEW: Span = 30 * SECOND
"""The tolerated clock skew between two nodes. A token is accepted from this long before its issue until this long after
its end."""
FIELD = "holder_token"
_NONCE_LENGTH = 12
_TIME_LENGTH = 8
_KEYS_OF_FORM = {3: 1, 4: 2}
"""Numbers of subject keys in a token, by the form of the token. Forms 1 and 2 held no number of a document. A process
that knows only them refuses these tokens, and would otherwise take the number for a part of the name."""
_FORM_OF_KEYS = {keys: form for form, keys in _KEYS_OF_FORM.items()}


class HolderToken(NamedTuple):
    """The content of a token.

    Attributes:
        token_id: distinguishes two tokens.
        subject_key: the key under the version that this node writes, if the token has one.
        purpose: the only purpose for which the token may be shown; 0 for any purpose.
        other_key: the key under the other version that this node reads; empty if there is none.
        number: the number of the document, with which a signed report is compared; empty if another node has sent the
            subject keys in place of a token.
    """

    token_id: bytes
    subject_key: bytes
    masked_name: str
    purpose: int
    issue_time: Instant
    other_key: bytes = b""
    number: str = ""

    @property
    def end_time(self) -> Instant:
        """The last instant at which a node accepts the token."""
        return self.issue_time + GOOD_FOR + CLOCK_SKEW

    def __repr__(self) -> str:
        return f"HolderToken(purpose={self.purpose}, issue_time={self.issue_time})"


class TokenSeal:
    """Makes and reads tokens. The key of each key version is set up once."""

    def __init__(self, pepper: Pepper) -> None:
        # A token has one byte for each version. At most two versions are in use at a time, and these two are
        # consecutive, so their bytes differ.
        self._versions = [one.version & 0xFF for one in pepper.versions]
        keys = [one.subkey(Purpose.HOLDER_TOKENS) for one in pepper.versions]
        self._ciphers = dict(zip(self._versions, map(AESGCM, keys), strict=True))

    def issue(self, subject_keys: Sequence[bytes], number: str, masked_name: str, purpose: int, now: Instant) -> str:
        """Return a new token. Two tokens of one holder have nothing in common.

        `subject_keys` are the document's keys under each key version (`Pepper.subject_keys`). `number` is the
        document's number, as it was sent: ASCII, at most 32 characters.
        """
        head = bytes([_FORM_OF_KEYS[len(subject_keys)], *self._versions[: len(subject_keys)]])
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        fixed = b"".join(subject_keys) + now.to_bytes(_TIME_LENGTH) + bytes([purpose, len(number)])
        content = fixed + number.encode("ascii") + masked_name.encode()
        sealed = self._ciphers[self._versions[0]].encrypt(nonce, content, head)
        return encode_base64url(head + nonce + sealed)

    def read(self, text: str, purpose: int, now: Instant, found: list[Violation]) -> HolderToken | None:
        """Return the content of a token that is accepted for a purpose now.

        If the token is not accepted, add the reason to `found` and return None.
        """
        token = self._open(text)
        if token is None:
            found.append(Violation(FIELD, "HOLDER_TOKEN_INVALID", english("is no token of this nation")))
            return None
        if not token.issue_time - CLOCK_SKEW <= now <= token.end_time:
            found.append(Violation(FIELD, "HOLDER_TOKEN_EXPIRED", english("is no longer good; show a new one")))
            return None
        if token.purpose and token.purpose != purpose:
            found.append(Violation(FIELD, "HOLDER_TOKEN_OTHER_PURPOSE", english("is for another purpose")))
            return None
        return token

    def _open(self, text: str) -> HolderToken | None:
        try:
            raw = decode_base64url(text)
        except ValueError:
            return None
        key_count = _KEYS_OF_FORM.get(raw[0]) if raw else None
        if key_count is None:
            return None
        head_end = 1 + key_count
        nonce_end = head_end + _NONCE_LENGTH
        cipher = self._ciphers.get(raw[1]) if len(raw) > nonce_end else None
        if cipher is None:
            return None
        try:
            content = cipher.decrypt(raw[head_end:nonce_end], raw[nonce_end:], raw[:head_end])
        except InvalidTag:
            return None
        keys = self._readable(raw[1:head_end], content)
        keys_end = key_count * KEY_LENGTH
        time_end = keys_end + _TIME_LENGTH
        number_start = time_end + 2
        number_end = number_start + content[time_end + 1]
        return HolderToken(
            blake2b(raw, digest_size=KEY_LENGTH).digest(),
            keys[0],
            content[number_end:].decode(),
            content[time_end],
            int.from_bytes(content[keys_end:time_end]),
            keys[1] if len(keys) > 1 else b"",
            content[number_start:number_end].decode(),
        )

    def _readable(self, versions: bytes, content: bytes) -> list[bytes]:
        """Return the subject keys of a token under the key versions that this node reads.

        The key of the version that this node writes comes first.
        """
        keys = {version: content[index * KEY_LENGTH :][:KEY_LENGTH] for index, version in enumerate(versions)}
        return [keys[version] for version in self._versions if version in keys]
