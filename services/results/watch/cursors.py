"""Encodes a watcher's cursor as a text. Callers must not interpret the text.

It is compressed, because there may be many writers.
"""

from __future__ import annotations

import zlib

import orjson
from hutong_texts import english

from services.domain.base64url import decode_base64url, encode_base64url
from services.domain.errors import InvalidArgument
from services.results.changelog.model import Cursor, Position

_MAX_CURSOR_BYTES = 1 << 20
"""The most bytes of a decompressed cursor, which is enough for tens of thousands of writers."""


def encode_cursor(cursor: Cursor) -> str:
    """Return the text of a cursor."""
    positions = [[writer_id, *position] for writer_id, position in sorted(cursor.items())]
    return encode_base64url(zlib.compress(orjson.dumps(positions), level=1))


def decode_cursor(text: str) -> Cursor:
    """Return the cursor of a text that `encode_cursor` made. Raises InvalidArgument for any other text."""
    try:
        packed = decode_base64url(text)
        unpacking = zlib.decompressobj()
        positions = orjson.loads(unpacking.decompress(packed, _MAX_CURSOR_BYTES))
        if not unpacking.eof:
            raise ValueError
        return {writer_id: Position(sequence, processed) for writer_id, sequence, processed in map(_numbers, positions)}
    except (zlib.error, ValueError, TypeError):
        raise InvalidArgument.field("cursor", english("is not a cursor of this service")) from None


def _numbers(position: list[object]) -> list[int]:
    """Return a writer, a sequence and a count within the database's ranges. Raises ValueError for anything else."""
    numbers = [number for number in position if type(number) is int and 0 <= number < 2**63]
    if numbers != position or numbers[0] >= 2**31:
        raise ValueError
    return numbers
