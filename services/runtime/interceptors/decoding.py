"""Bytes that are no message: marked where gRPC decodes, so that the layers can refuse them with a proper status.

gRPC decodes outside of all layers and would answer UNKNOWN with the exception's own text. The usual cause is text that
is not UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from services.domain.errors import InvalidArgument


class _Unreadable:
    """Stands for a request that could not be decoded."""


_UNREADABLE = _Unreadable()


def marking_unreadable(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """A decoder that marks what it cannot read instead of failing; None, for raw bytes, as it is."""
    if decode is None:
        return None

    def decode_or_mark(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return _UNREADABLE

    return decode_or_mark


def refuse_unreadable(request: object) -> None:
    """Refuse a request that was marked."""
    if request is _UNREADABLE:
        raise InvalidArgument.field("", "the message cannot be decoded: broken bytes, or text that is not UTF-8")
