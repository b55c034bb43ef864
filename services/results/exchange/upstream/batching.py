"""A province's commits as frames of a replication: each batch within what the nation takes and gRPC carries."""

from __future__ import annotations

from typing import NamedTuple

from hutong.exchange.v1.exchange_service_pb2 import ReplicateBatch, ReplicateCheckpoint, ReplicateRequest
from hutong.exchange.v1.replica_pb2 import ReplicatedChange, ReplicatedTubes

from services.domain.instant import Instant, set_timestamp
from services.results.exchange.convert import fill_change, fill_tubes
from services.results.exchange.model import MAX_CHANGES, Change, ReplicaTubes
from services.results.exchange.upstream.outbox import Outgoing, Page

MAX_BATCH_BYTES = 2 * 1024 * 1024
"""Of what a batch holds, so that it stays well below the 4 MiB that gRPC carries, its frame's own bytes included.

A single change may have more and goes by itself: the largest, a laboratory with a long history, is far below 4 MiB.
"""


class Frame(NamedTuple):
    """A frame, and what its answer will say: commits that are complete with it, an instant reached.

    `sent_time` is by the province's clock, and known once the frame is on its way.
    """

    request: ReplicateRequest
    commits: tuple[Outgoing, ...] = ()
    as_of_time: Instant | None = None
    sent_time: Instant | None = None


class _Packer:
    """Puts commits into batches: small ones of one writer together, a large one over several."""

    def __init__(self, now: Instant) -> None:
        self.frames: list[Frame] = []
        self._now = now
        self._writer = 0
        self._offset = 0
        self._batch = ReplicateBatch()
        self._count = 0
        self._bytes = 0
        self._complete: list[Outgoing] = []

    def add(self, commit: Outgoing) -> None:
        """Add a commit, the next of its writer."""
        if commit.entry.writer_id != self._writer:
            self.flush()
            self._writer, self._offset = commit.entry.writer_id, commit.entry.sequence - 1
        for tubes in commit.tubes:
            start, persons = 0, len(tubes.report_numbers)
            while start < persons:
                end = min(persons, start + self._room())
                self._add_tubes(tubes.part(start, end))
                start = end
        for change in commit.changes:
            self._add_change(change)
        self._complete.append(commit)

    def _add_tubes(self, tubes: ReplicaTubes) -> None:
        """Filled where it belongs and measured once: nearly always it fits, and a copy would cost more."""
        message = self._batch.tubes.add()
        fill_tubes(message, tubes)
        persons = len(tubes.report_numbers)
        if self._takes(message, persons):
            return
        del self._batch.tubes[-1]
        if self._bytes:
            self.flush()
            self._add_tubes(tubes)
        else:
            for start, end in ((0, persons // 2), (persons // 2, persons)):
                self._add_tubes(tubes.part(start, end))

    def _add_change(self, change: Change) -> None:
        self._room()
        message = self._batch.changes.add()
        fill_change(message, change)
        if not self._takes(message, 1):
            del self._batch.changes[-1]
            self.flush()
            self._add_change(change)

    def _takes(self, message: ReplicatedTubes | ReplicatedChange, count: int) -> bool:
        """Count a message in unless the batch has too many bytes with it, or it has too many and can be parted."""
        size = message.ByteSize()
        if self._bytes + size > MAX_BATCH_BYTES and (self._bytes or count > 1):
            return False
        self._bytes += size
        self._count += count
        return True

    def _room(self) -> int:
        """How many more the batch takes, or the next one where it is full."""
        if self._count == MAX_CHANGES:
            self.flush()
        return MAX_CHANGES - self._count

    def flush(self) -> None:
        """Close the batch that is being filled."""
        complete = tuple(self._complete)
        if not self._count and not complete:
            return
        batch = self._batch
        batch.writer, batch.offset, batch.next_offset = self._writer, self._offset, self._offset + len(complete)
        if complete:
            set_timestamp(batch.commit_time, complete[-1].entry.commit_time)
        self.frames.append(Frame(ReplicateRequest(batch=batch), complete))
        self._offset += len(complete)
        self._batch, self._count, self._bytes, self._complete = ReplicateBatch(), 0, 0, []


def checkpoint_frame(now: Instant, backlog: int) -> Frame:
    """A heartbeat: without a backlog it says that everything from before the instant was sent."""
    checkpoint = ReplicateCheckpoint(backlog=backlog)
    if backlog:
        return Frame(ReplicateRequest(checkpoint=checkpoint))
    set_timestamp(checkpoint.as_of_time, now)
    return Frame(ReplicateRequest(checkpoint=checkpoint), as_of_time=now)


def pack(page: Page, now: Instant) -> list[Frame]:
    """A page's commits in as few batches as they fit, in their order."""
    packer = _Packer(now)
    for commit in page.commits:
        packer.add(commit)
    packer.flush()
    return packer.frames
