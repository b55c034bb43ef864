"""Pack a node's commits into frames of a replication, within the limits of the node above and of gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from hutong.audit.v1.audit_head_pb2 import AuditHead
from hutong.exchange.v1.exchange_service_pb2 import ReplicateBatch, ReplicateCheckpoint, ReplicateRequest
from hutong.exchange.v1.replica_pb2 import ReplicatedChange, ReplicatedTubes

from services.domain.instant import Instant, set_timestamp
from services.results.exchange.convert.changes import fill_change
from services.results.exchange.convert.tubes import fill_tubes
from services.results.exchange.model import MAX_CHANGES, Change, ReplicaTubes
from services.results.exchange.upstream.below import NOTHING, Statements, fill_positions
from services.results.exchange.upstream.outbox import Outgoing, Page

if TYPE_CHECKING:
    from services.runtime.tracing.recording import ActiveSpan


class Frame(NamedTuple):
    """A frame, with what its answer acknowledges.

    Attributes:
        commits: commits that are complete with this frame.
        as_of_time: set for a checkpoint. Everything that was committed before this instant was sent.
        sent_time: when the frame was sent, by this node's clock; None until then.
        span: set for a batch that is traced. The span lasts from sending the batch to its answer.
    """

    request: ReplicateRequest
    commits: tuple[Outgoing, ...] = ()
    as_of_time: Instant | None = None
    sent_time: Instant | None = None
    span: ActiveSpan | None = None


class _Packer:
    """Packs commits into batches.

    Small commits of one writer share a batch. A large commit is divided into several batches.
    """

    def __init__(self, now: Instant, max_bytes: int) -> None:
        self.frames: list[Frame] = []
        self._now = now
        self._max_bytes = max_bytes
        self._writer = 0
        self._offset = 0
        self._batch = ReplicateBatch()
        self._count = 0
        self._bytes = 0
        self._complete: list[Outgoing] = []

    def add(self, commit: Outgoing) -> None:
        """Add the next commit of its writer."""
        if commit.entry.writer_id != self._writer:
            self.flush()
            self._writer, self._offset = commit.entry.writer_id, commit.entry.sequence - 1
        for tubes, message in zip_longest(commit.tubes, commit.messages):
            if message is not None and self._is_added_whole(message, len(tubes.report_numbers)):
                continue
            start, persons = 0, len(tubes.report_numbers)
            while start < persons:
                end = min(persons, start + self._free_slots())
                self._add_tubes(tubes.part(start, end))
                start = end
        for change in commit.changes:
            self._add_change(change)
        self._complete.append(commit)

    def _is_added_whole(self, message: ReplicatedTubes, persons: int) -> bool:
        """Add tubes by their message, if a batch has room for it. Otherwise the caller divides the tubes."""
        if self._count + persons > MAX_CHANGES:
            self.flush()
        self._batch.tubes.append(message)
        if persons <= MAX_CHANGES and self._fits(message, persons):
            return True
        del self._batch.tubes[-1]
        if not self._bytes:
            return False
        self.flush()
        return self._is_added_whole(message, persons)

    def _add_tubes(self, tubes: ReplicaTubes) -> None:
        """Add tubes to the batch.

        If they are too large, add them in halves. The message is filled in place and measured once.
        """
        message = self._batch.tubes.add()
        fill_tubes(message, tubes)
        persons = len(tubes.report_numbers)
        if self._fits(message, persons):
            return
        del self._batch.tubes[-1]
        if self._bytes:
            self.flush()
            self._add_tubes(tubes)
        else:
            for start, end in ((0, persons // 2), (persons // 2, persons)):
                self._add_tubes(tubes.part(start, end))

    def _add_change(self, change: Change) -> None:
        self._free_slots()
        message = self._batch.changes.add()
        fill_change(message, change)
        if not self._fits(message, 1):
            del self._batch.changes[-1]
            self.flush()
            self._add_change(change)

    def _fits(self, message: ReplicatedTubes | ReplicatedChange, count: int) -> bool:
        """Count a message as part of the batch.

        If the message does not fit, return False. The caller then puts it into the next batch or divides it.
        """
        size = message.ByteSize()
        if self._bytes + size > self._max_bytes and (self._bytes or count > 1):
            return False
        self._bytes += size
        self._count += count
        return True

    def _free_slots(self) -> int:
        """Return how many more changes fit into the batch. A full batch is closed first."""
        if self._count == MAX_CHANGES:
            self.flush()
        return MAX_CHANGES - self._count

    def flush(self) -> None:
        """Close the current batch if it contains anything."""
        complete = tuple(self._complete)
        if not self._count and not complete:
            return
        batch = self._batch
        batch.writer, batch.offset, batch.next_offset = self._writer, self._offset, self._offset + len(complete)
        if complete:
            set_timestamp(batch.commit_time, complete[-1].entry.commit_time)
            newest = {commit.entry.life: commit.entry.sequence for commit in complete}
            for life, sequence in sorted(newest.items(), key=itemgetter(1)):
                batch.lives.add(life=life, sequence=sequence)
            fill_positions(batch.positions_below, [one for commit in complete for one in commit.entry.positions_below])
        self.frames.append(Frame(ReplicateRequest(batch=batch), complete))
        self._offset += len(complete)
        self._batch, self._count, self._bytes, self._complete = ReplicateBatch(), 0, 0, []


def checkpoint_frame(now: Instant, backlog: int, heads: Sequence[AuditHead] = (), below: Statements = NOTHING) -> Frame:
    """Return a checkpoint with heads of the node's audits.

    If there is no backlog, the checkpoint also states that everything committed before `now` was sent, and it has the
    statements `below` about nodes below.
    """
    checkpoint = ReplicateCheckpoint(backlog=backlog, audit_heads=heads)
    if backlog:
        return Frame(ReplicateRequest(checkpoint=checkpoint))
    set_timestamp(checkpoint.as_of_time, now)
    below.fill(checkpoint)
    return Frame(ReplicateRequest(checkpoint=checkpoint), as_of_time=now)


def pack(page: Page, now: Instant, max_bytes: int) -> list[Frame]:
    """Pack a page's commits, in their order, into as few batches as possible. A batch has at most `max_bytes`."""
    packer = _Packer(now, max_bytes)
    for commit in page.commits:
        packer.add(commit)
    packer.flush()
    return packer.frames
