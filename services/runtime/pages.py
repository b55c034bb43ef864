"""Opaque page tokens (AIP-158), bound to the request they were issued for."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import orjson
from google.protobuf.message import Message

from services.domain.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 500


def page_size(asked: int) -> int:
    """How many rows a page has: 50 when not asked, never more than 500."""
    return min(asked, MAX_PAGE_SIZE) if asked > 0 else DEFAULT_PAGE_SIZE


def encode_page_token(request: Message, position: list[Any]) -> str:
    """The token of the page after `position`, a list of JSON values."""
    body = orjson.dumps(position)
    return base64.urlsafe_b64encode(_fingerprint(request, body) + body).decode().rstrip("=")


def decode_page_token(request: Message) -> list[Any] | None:
    """The position in a request's page_token; None for the first page.

    Raises:
        InvalidArgument: INVALID_PAGE_TOKEN, the token is not ours or was issued for another request.
    """
    token: str = request.page_token  # type: ignore[attr-defined]
    if not token:
        return None
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        position = orjson.loads(raw[8:])
    except (binascii.Error, ValueError):
        position = None
    if not isinstance(position, list) or raw[:8] != _fingerprint(request, raw[8:]):
        raise InvalidArgument.field("page_token", "was not issued for this request", "INVALID_PAGE_TOKEN")
    return position


def _fingerprint(request: Message, body: bytes) -> bytes:
    """A hash of all of the request but its paging, and of the position: neither may be exchanged."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("page_token")
    bare.ClearField("page_size")
    return hashlib.blake2b(body + bare.SerializeToString(deterministic=True), digest_size=8).digest()
