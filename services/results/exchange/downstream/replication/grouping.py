"""Groups of replicated batches that are applied in one transaction.

Under load the next batches arrive and are decoded while a batch is stored. They then share the statements that each
transaction needs. Batches that follow one another are stored as the one larger batch that the sender might have sent in
their place. If a report may not be new, or the group fails for any other reason, nothing of the group is stored. The
caller then applies the batches one by one, so that a batch that fails does not affect the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from hutong.exchange.v1.exchange_service_pb2 import ReplicateBatch
from hutong.type.v1.life_position_pb2 import LifePosition

from services.results.exchange.arrival import FormedTubes
from services.results.exchange.model import Change

MOST_PERSONS = 12_000
"""The most persons of a group. On SQLite all other writes wait for a group."""


class Decoded(NamedTuple):
    """The content of a replicated batch."""

    tubes: Sequence[FormedTubes]
    changes: Sequence[Change]

    @property
    def person_count(self) -> int:
        """The number of persons in the tubes."""
        return sum(len(formed.results) for formed in self.tubes)


class ArrivedBatch(NamedTuple):
    """A batch and its content."""

    batch: ReplicateBatch
    decoded: Decoded


def may_join(group: Sequence[ArrivedBatch], next_: ArrivedBatch) -> bool:
    """Return whether a batch can be applied together with the batches before it.

    It follows them in the log of the same writer, and all of them have only tubes.
    """
    last = group[-1].batch
    persons = sum(one.decoded.person_count for one in group) + next_.decoded.person_count
    return (
        (next_.batch.writer, next_.batch.offset) == (last.writer, last.next_offset)
        and persons <= MOST_PERSONS
        and not any(one.decoded.changes for one in (group[0], next_))
    )


def merge(group: Sequence[ArrivedBatch]) -> ArrivedBatch:
    """Return the batch that a sender might have sent in place of a group."""
    if len(group) == 1:
        return group[0]
    first, last = group[0].batch, group[-1].batch
    merged = ReplicateBatch(writer=first.writer, offset=first.offset, next_offset=last.next_offset)
    ended = [one.batch for one in group if one.batch.HasField("commit_time")]
    if ended:
        merged.commit_time.CopyFrom(ended[-1].commit_time)
    # Each life occurs once, with its newest commit. Lives stay in the order of their first commits.
    newest = {one.life: one.sequence for arrived in group for one in arrived.batch.lives}
    merged.lives.extend(LifePosition(life=life, sequence=sequence) for life, sequence in newest.items())
    positions = {
        (one.node, one.writer, one.position.life): one for arrived in group for one in arrived.batch.positions_below
    }
    merged.positions_below.extend(positions.values())
    tubes = list(chain.from_iterable(one.decoded.tubes for one in group))
    return ArrivedBatch(merged, Decoded(tubes, ()))
