"""Packs what an entry of the change log lists into the columns of its row."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import orjson

from services.domain.subject import KEY_LENGTH
from services.results.changelog.model import LoggedChange, PositionBelow

NO_KEY = bytes(KEY_LENGTH)
"""The place holder for a report without another key."""


def pack_reports(reports: Sequence[tuple[str, int]]) -> bytes:
    """Encode a list of reports and revisions for the log."""
    return zlib.compress(orjson.dumps(reports), level=1)


def unpack_reports(packed: bytes) -> list[tuple[str, int]]:
    """Decode what `pack_reports` encoded."""
    return [*map(tuple, orjson.loads(zlib.decompress(packed)))]


def pack_other_keys(change: LoggedChange) -> bytes:
    """Concatenate the keys of a change's subjects under the other key version.

    Zeros stand for a key that is not known.
    """
    return b"".join(change.other_keys.get(key, NO_KEY) for key in change.subject_keys)


def unpack_other_keys(reports: Sequence[tuple[str, int]], packed: bytes | None) -> dict[str, bytes]:
    """Return the key under the other version for each report that has one."""
    if not packed:
        return {}
    keys = (packed[start : start + KEY_LENGTH] for start in range(0, len(packed), KEY_LENGTH))
    return {number: key for (number, _), key in zip(reports, keys, strict=False) if key != NO_KEY}


def pack_positions(positions: Sequence[PositionBelow]) -> bytes | None:
    """Encode positions of nodes below; None if there are none."""
    return orjson.dumps([tuple(one) for one in positions]) if positions else None


def unpack_positions(packed: bytes | None) -> list[PositionBelow]:
    """Decode what `pack_positions` encoded."""
    return [PositionBelow._make(one) for one in orjson.loads(packed)] if packed else []
