"""How a person is known to the stores: a keyed hash to find them by, masks to show. Never the number, never the name."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from services.domain.document import Document

KEY_LENGTH = 16
"""Bytes of a subject key: 128 bits keep a chance collision among 10¹⁰ documents below 10⁻¹⁸."""


@dataclass(frozen=True, slots=True)
class Pepper:
    """The nation's secret under which documents are hashed, and its version. The same at every node."""

    secret: bytes = field(repr=False)
    version: int = 1

    def subject_key(self, document: Document) -> bytes:
        """HMAC-SHA-256 over document type and canonical number, its first 16 bytes."""
        text = f"{document.type}:{document.issuing_country}:{document.number}"
        return hmac.digest(self.secret, text.encode(), "sha256")[:KEY_LENGTH]

    def name_hash(self, name: str) -> bytes:
        """HMAC-SHA-256 over the name without spaces in lower case, its first 16 bytes; empty for no name."""
        bare = name.replace(" ", "").lower()
        return hmac.digest(self.secret, b"name:" + bare.encode(), "sha256")[:KEY_LENGTH] if bare else b""


def mask_name(name: str) -> str:
    """All but the first character masked: "张**"."""
    bare = name.strip()
    return bare[:1] + "*" * (len(bare) - 1)


def mask_number(number: str) -> str:
    """All but the first two and last two characters masked; of a number under 8 characters only the first is shown."""
    if len(number) < 8:
        return number[:1] + "*" * (len(number) - 1)
    return number[:2] + "*" * (len(number) - 4) + number[-2:]
