"""Handles messages that cannot be decoded or are too large. The decoder marks such a message, and a layer refuses it.

gRPC decodes outside all layers. If decoding fails, usually because a text is not UTF-8, gRPC answers UNKNOWN with the
exception's text. If a message exceeds gRPC's own limit, gRPC ends the call without a reason that programs can read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from hutong_texts import english

from services.domain.errors import InvalidArgument, Violation
from services.runtime.limits import MAX_MESSAGE_BYTES

MAX_RECEIVED_BYTES = 4 * MAX_MESSAGE_BYTES
"""gRPC's own limit. Messages larger than MAX_MESSAGE_BYTES, up to this limit, are refused with the reason
BATCH_TOO_LARGE."""


class _Mark:
    """A stand-in for a request that was not decoded."""


_UNREADABLE = _Mark()
_TOO_LARGE = _Mark()


def mark_unreadable(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Return a decoder that marks broken or too large messages instead of failing. If `decode` is None, return None."""
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
    """Raise InvalidArgument if a request was marked."""
    if request is _UNREADABLE:
        raise InvalidArgument.field(
            "", english("the message cannot be decoded: broken bytes, or text that is not UTF-8")
        )
    if request is _TOO_LARGE:
        text = english(
            "the message has more than {max_message_bytes} bytes; send less at once",
            max_message_bytes=MAX_MESSAGE_BYTES,
        )
        raise InvalidArgument(
            "BATCH_TOO_LARGE",
            text,
            violations=[Violation("", "BATCH_TOO_LARGE", text)],
            metadata={"field": "", "limit": str(MAX_MESSAGE_BYTES)},
        )
