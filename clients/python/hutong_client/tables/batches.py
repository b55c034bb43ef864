"""Gather tubes into batches within the service's limits, each with the rows that it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hutong_client.tables.tubes import BadRow, ReadTube
from hutong_client.upload import MAX_BATCH_BYTES, MAX_TUBES, TUBE_OVERHEAD_BYTES, Batch


@dataclass(slots=True)
class Origin:
    """The rows of a batch: its tubes, and the bad rows before its last tube."""

    tubes: list[ReadTube] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)


def gather(items: Iterable[ReadTube | BadRow], batch_size: int = MAX_TUBES) -> Iterator[Batch[Origin]]:
    """Yield batches of at most `batch_size` tubes, within the service's limit of bytes.

    Bad rows belong to the batch of the next tube. Bad rows after the last tube come at the end as a batch without
    tubes, which must not be sent. A resumed upload therefore reports each bad row exactly once.
    """
    origin, size = Origin(), 0
    waiting: list[BadRow] = []
    for item in items:
        if isinstance(item, BadRow):
            waiting.append(item)
            continue
        more = item.tube.ByteSize() + TUBE_OVERHEAD_BYTES
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
    """Yield the tubes and bad rows after the first `count` tubes.

    Bad rows before the last of these tubes are skipped too.
    """
    for item in items:
        if count > 0:
            count -= isinstance(item, ReadTube)
            continue
        yield item


def _batch(origin: Origin) -> Batch[Origin]:
    return Batch([read.tube for read in origin.tubes], origin)
