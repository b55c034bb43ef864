"""Encrypts and reads holders' tokens (docs/identifiers.md §9).

A token has four parts, encoded in base64url without padding: the version of the form, the version of the pepper, a
nonce, and the content under AES-256-GCM. The two versions are authenticated too.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.domain.base64url import decode_base64url, encode_base64url
from services.domain.errors import Violation
from services.domain.instant import SECOND, Instant, Span
from services.domain.subject import KEY_LENGTH, Pepper
from services.domain.subkeys import Purpose

GOOD_FOR: Span = 60 * SECOND
"""How long a code page shows a token before it asks for a new one."""
CLOCK_SKEW: Span = 30 * SECOND
"""The clock skew between two nodes that is tolerated, before a token's issue and after its end."""
FIELD = "holder_token"
_FORM = 1
_NONCE_LENGTH = 12
_TIME_LENGTH = 8
_HEAD_LENGTH = 2


class HolderToken(NamedTuple):
    """The content of a token.

    Attributes:
        token_id: distinguishes two tokens.
        purpose: the only purpose for which it may be shown; 0 for any.
    """

    token_id: bytes
    subject_key: bytes
    masked_name: str
    purpose: int
    issue_time: Instant

    @property
    def end_time(self) -> Instant:
        """The last instant at which a node accepts the token."""
        return self.issue_time + GOOD_FOR + CLOCK_SKEW

    def __repr__(self) -> str:
        return f"HolderToken(purpose={self.purpose}, issue_time={self.issue_time})"


class TokenSeal:
    """Makes and reads tokens under one key, which is set up once."""

    def __init__(self, pepper: Pepper) -> None:
        self._cipher = AESGCM(pepper.subkey(Purpose.HOLDER_TOKENS))
        self._head = bytes([_FORM, pepper.version & 0xFF])

    def issue(self, subject_key: bytes, masked_name: str, purpose: int, now: Instant) -> str:
        """Return a new token. Two tokens of one holder have nothing in common."""
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        content = subject_key + now.to_bytes(_TIME_LENGTH) + bytes([purpose]) + masked_name.encode()
        sealed = self._cipher.encrypt(nonce, content, self._head)
        return encode_base64url(self._head + nonce + sealed)

    def read(self, text: str, purpose: int, now: Instant, found: list[Violation]) -> HolderToken | None:
        """Return the content of a token. If it is not accepted for a purpose now, add the reason and return None."""
        token = self._open(text)
        if token is None:
            found.append(Violation(FIELD, "HOLDER_TOKEN_INVALID", "is no token of this nation"))
            return None
        if not token.issue_time - CLOCK_SKEW <= now <= token.end_time:
            found.append(Violation(FIELD, "HOLDER_TOKEN_EXPIRED", "is no longer good; show a new one"))
            return None
        if token.purpose and token.purpose != purpose:
            found.append(Violation(FIELD, "HOLDER_TOKEN_OTHER_PURPOSE", "is for another purpose"))
            return None
        return token

    def _open(self, text: str) -> HolderToken | None:
        try:
            raw = decode_base64url(text)
        except ValueError:
            return None
        head, nonce = raw[:_HEAD_LENGTH], raw[_HEAD_LENGTH : _HEAD_LENGTH + _NONCE_LENGTH]
        if head != self._head or len(nonce) < _NONCE_LENGTH:
            return None
        try:
            content = self._cipher.decrypt(nonce, raw[_HEAD_LENGTH + _NONCE_LENGTH :], head)
        except InvalidTag:
            return None
        time_end = KEY_LENGTH + _TIME_LENGTH
        return HolderToken(
            blake2b(raw, digest_size=KEY_LENGTH).digest(),
            content[:KEY_LENGTH],
            content[time_end + 1 :].decode(),
            content[time_end],
            int.from_bytes(content[KEY_LENGTH:time_end]),
        )
