"""A watcher's cursor as it crosses the wire: opaque, and small however many writers there are."""

from __future__ import annotations

import base64
import binascii
import zlib

import orjson

from services.domain.errors import InvalidArgument
from services.results.changelog.model import Cursor, Position

_MAX_CURSOR_BYTES = 1 << 20
"""Of a cursor unpacked: tens of thousands of writers."""


def encode_cursor(cursor: Cursor) -> str:
    """The cursor as callers hold it."""
    places = [[writer_id, *place] for writer_id, place in sorted(cursor.items())]
    return base64.urlsafe_b64encode(zlib.compress(orjson.dumps(places), level=1)).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor:
    """What `encode_cursor` wrote; InvalidArgument for anything else."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        unpacking = zlib.decompressobj()
        places = orjson.loads(unpacking.decompress(packed, _MAX_CURSOR_BYTES))
        if not unpacking.eof:
            raise ValueError
        return {writer_id: Position(sequence, dealt) for writer_id, sequence, dealt in map(_numbers, places)}
    except (binascii.Error, zlib.error, ValueError, TypeError):
        raise InvalidArgument.field("cursor", "is not a cursor of this service") from None


def _numbers(place: list[object]) -> list[int]:
    """A writer, a sequence and a count as a database takes them; ValueError for anything else."""
    numbers = [number for number in place if type(number) is int and 0 <= number < 2**63]
    if numbers != place or numbers[0] >= 2**31:
        raise ValueError
    return numbers
