"""Bytes that are no message, or too many: marked where gRPC decodes, so that the layers can refuse them properly.

gRPC decodes outside of all layers and would answer UNKNOWN with the exception's own text. The usual cause is text that
is not UTF-8. And what exceeds its own limit it ends without a word that a program could read, so that limit is wider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from services.domain.errors import InvalidArgument, Violation
from services.runtime.limits import MAX_MESSAGE_BYTES

MAX_RECEIVED_BYTES = 4 * MAX_MESSAGE_BYTES
"""What gRPC itself takes in: up to here a message that is too large is told so with its reason."""


class _Mark:
    """Stands for a request that was not decoded."""


_UNREADABLE = _Mark()
_TOO_LARGE = _Mark()


def marking_unreadable(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """A decoder that marks what it cannot or will not read instead of failing; None, for raw bytes, as it is."""
    if decode is None:
        return None

    def decode_or_mark(data: bytes) -> Any:
        if len(data) > MAX_MESSAGE_BYTES:
            return _TOO_LARGE
        try:
            return decode(data)
        except DecodeError:
            return _UNREADABLE

    return decode_or_mark


def refuse_unreadable(request: object) -> None:
    """Refuse a request that was marked."""
    if request is _UNREADABLE:
        raise InvalidArgument.field("", "the message cannot be decoded: broken bytes, or text that is not UTF-8")
    if request is _TOO_LARGE:
        text = f"the message has more than {MAX_MESSAGE_BYTES} bytes; send less at once"
        raise InvalidArgument(
            "BATCH_TOO_LARGE",
            text,
            violations=[Violation("", "BATCH_TOO_LARGE", text)],
            metadata={"field": "", "limit": str(MAX_MESSAGE_BYTES)},
        )
