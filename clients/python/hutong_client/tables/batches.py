"""Tubes into batches that the service takes, each with the rows it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hutong_client.tables.tubes import BadRow, ReadTube
from hutong_client.upload import MAX_BATCH_BYTES, MAX_TUBES, Batch

_BYTES_PER_TUBE = 8
"""What a tube's own length and tag take in a batch."""


@dataclass(slots=True)
class Origin:
    """Where a batch came from: its tubes, and the rows before its last tube that never became one."""

    tubes: list[ReadTube] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)


def gather(items: Iterable[ReadTube | BadRow], batch_size: int = MAX_TUBES) -> Iterator[Batch[Origin]]:
    """Batches of at most `batch_size` tubes within the service's limit of bytes.

    Rows that never became a tube go with the batch of the next tube; those after the last one come as a batch without
    tubes at the end, which is not to be sent. So wherever an upload is taken up again, each bad row is on one side.
    """
    origin, size = Origin(), 0
    waiting: list[BadRow] = []
    for item in items:
        if isinstance(item, BadRow):
            waiting.append(item)
            continue
        more = item.tube.ByteSize() + _BYTES_PER_TUBE
        if origin.tubes and (len(origin.tubes) >= batch_size or size + more > MAX_BATCH_BYTES):
            yield _batch(origin)
            origin, size = Origin(), 0
        origin.bad_rows += waiting
        origin.tubes.append(item)
        waiting = []
        size += more
    if origin.tubes:
        yield _batch(origin)
    if waiting:
        yield _batch(Origin(bad_rows=waiting))


def skip_tubes(items: Iterable[ReadTube | BadRow], count: int) -> Iterator[ReadTube | BadRow]:
    """What follows the first `count` tubes. Bad rows before the last of them are left out with it."""
    for item in items:
        if count > 0:
            count -= isinstance(item, ReadTube)
            continue
        yield item


def _batch(origin: Origin) -> Batch[Origin]:
    return Batch([read.tube for read in origin.tubes], origin)
