"""The base64url form of opaque tokens (RFC 4648 §5), without padding. Pure."""

from __future__ import annotations

import base64


def encode_base64url(content: bytes) -> str:
    """Return the text of bytes."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """Return the bytes of a text. Raises ValueError if the text is not in this form."""
    # b64decode also accepts + and /, which belong to plain base64.
    if "+" in text or "/" in text:
        raise ValueError("+ and / are not letters of base64url")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
