"""Opaque page tokens (AIP-158), bound to the request they were issued for, and keyed so that nobody can make one up."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any

import orjson
from google.protobuf.message import Message

from services.domain.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 500
_SEAL_BYTES = 16


def page_size(asked: int) -> int:
    """How many rows a page has: 50 when not asked, never more than 500."""
    return min(asked, MAX_PAGE_SIZE) if asked > 0 else DEFAULT_PAGE_SIZE


class PageTokens:
    """Issues tokens and takes them back, under a secret that all processes of the service share.

    Without a secret anybody can make tokens: enough where all is public and a position is no more than a place.
    """

    def __init__(self, secret: bytes = b"") -> None:
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"page tokens").digest()

    def issue(self, request: Message, position: Sequence[str | int]) -> str:
        """The token of the page after a position."""
        body = orjson.dumps(position)
        return base64.urlsafe_b64encode(self.seal(request, body) + body).decode().rstrip("=")

    def position(self, request: Message, shape: Sequence[type]) -> list[Any] | None:
        """The position in a request's page_token, of these types; None for the first page.

        Raises:
            InvalidArgument: INVALID_PAGE_TOKEN, the token is not ours or was issued for another request.
        """
        token: str = request.page_token  # type: ignore[attr-defined]
        if not token:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            seal, body = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
            position = orjson.loads(body) if seal == self.seal(request, body) else None
        except (binascii.Error, ValueError):
            position = None
        if not isinstance(position, list) or not _has_shape(position, shape):
            raise InvalidArgument.field("page_token", "was not issued for this request", "INVALID_PAGE_TOKEN")
        return position

    def seal(self, request: Message, body: bytes) -> bytes:
        """A keyed hash of all of the request but its paging, and of the position: neither may be exchanged."""
        bare = type(request)()
        bare.CopyFrom(request)
        bare.ClearField("page_token")
        bare.ClearField("page_size")
        said = body + b"\0" + bare.DESCRIPTOR.full_name.encode() + b"\0" + bare.SerializeToString(deterministic=True)
        return hashlib.blake2b(said, key=self._key, digest_size=_SEAL_BYTES).digest()


def _has_shape(position: Sequence[object], shape: Sequence[type]) -> bool:
    """Whether a position has these types, as a database takes them."""
    return len(position) == len(shape) and all(
        type(value) is kind
        and (not isinstance(value, int) or -(2**63) <= value < 2**63)
        and (not isinstance(value, str) or "\0" not in value)
        for value, kind in zip(position, shape, strict=True)
    )
