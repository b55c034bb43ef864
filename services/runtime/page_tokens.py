"""Opaque page tokens (AIP-158). A keyed hash binds each token to its request, so that callers cannot forge one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson
from google.protobuf.message import Message
from hutong_texts import english

from services.domain.base64url import decode_base64url, encode_base64url
from services.domain.errors import InvalidArgument
from services.domain.subkeys import Purpose, subkey

Row = TypeVar("Row")
DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 500
_MAC_BYTES = 16
"""The length of the keyed hash. Nobody can guess 128 bits."""


def page_size(asked: int) -> int:
    """Return how many rows a page has: as many as the caller asked for, at most 500; by default 50."""
    return min(asked, MAX_PAGE_SIZE) if asked > 0 else DEFAULT_PAGE_SIZE


def rows_to_read(asked: int) -> int:
    """Return how many rows to read for a page: one more than the page can have.

    If that row exists, there is a next page.
    """
    return page_size(asked) + 1


class PageTokens:
    """Issues and checks tokens under secrets that all processes of the service share.

    Tokens are issued under the first secret and accepted under any of them. Without a secret any caller can make
    tokens. That does no harm where all data is public and a position says only where a page begins.
    """

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._keys = [subkey(secret, Purpose.PAGE_TOKENS) for secret in secrets or (b"",)]

    def issue(self, request: Message, position: Sequence[str | int]) -> str:
        """Return the token of the page after a position."""
        body = orjson.dumps(position)
        return encode_base64url(self.mac(request, body) + body)

    def page(
        self, request: Message, found: Sequence[Row], position_of: Callable[[Row], Sequence[str | int]]
    ) -> tuple[Sequence[Row], str]:
        """Return the rows of a page, and the token of the next page; no token if this is the last page.

        `found` begins with the rows of the page. If it has more rows than the page, there is a next page.
        """
        size = page_size(request.page_size)  # type: ignore[attr-defined]
        shown = found[:size]
        return shown, self.issue(request, position_of(shown[-1])) if len(found) > size else ""

    def position(self, request: Message, shape: Sequence[type]) -> list[Any] | None:
        """Return the position in a request's page_token, with values of these types; None for the first page.

        Raises:
            InvalidArgument: INVALID_PAGE_TOKEN, the token was not issued here, or was issued for another request.
        """
        token: str = request.page_token  # type: ignore[attr-defined]
        if not token:
            return None
        try:
            raw = decode_base64url(token)
            mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            position = orjson.loads(body) if self._is_issued(mac, request, body) else None
        except ValueError:
            position = None
        if not isinstance(position, list) or not _has_shape(position, shape):
            raise InvalidArgument.field("page_token", english("was not issued for this request"), "INVALID_PAGE_TOKEN")
        return position

    def _is_issued(self, mac: bytes, request: Message, body: bytes) -> bool:
        content = _content(request, body)
        return any(hmac.compare_digest(mac, _mac(content, key)) for key in self._keys)

    def mac(self, request: Message, body: bytes) -> bytes:
        """Return the keyed hash of the position and of the request without its page fields.

        Neither can then be changed.
        """
        return _mac(_content(request, body), self._keys[0])


def _content(request: Message, body: bytes) -> bytes:
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("page_token")
    bare.ClearField("page_size")
    return body + b"\0" + bare.DESCRIPTOR.full_name.encode() + b"\0" + bare.SerializeToString(deterministic=True)


def _mac(content: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(content, key=key, digest_size=_MAC_BYTES).digest()


def _has_shape(position: Sequence[object], shape: Sequence[type]) -> bool:
    """Whether a position has these types and a database accepts its values."""
    return len(position) == len(shape) and all(
        type(value) is kind
        and (not isinstance(value, int) or -(2**63) <= value < 2**63)
        and (not isinstance(value, str) or "\0" not in value)
        for value, kind in zip(position, shape, strict=True)
    )
