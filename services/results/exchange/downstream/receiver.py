"""The upper end of a replication.

The receiver makes each frame durable and answers it. Meanwhile the next frames arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import structlog
from hutong.exchange.v1.exchange_service_pb2 import (
    ReplicateBatch,
    ReplicateCheckpoint,
    ReplicateRequest,
    ReplicateResponse,
    ReplicateStart,
)
from hutong_texts import english

from services.domain.capabilities import OWN
from services.domain.errors import DeadlineExceeded, InvalidArgument, Unavailable
from services.domain.instant import Instant, Span, from_timestamp, to_timestamp
from services.domain.names import format_node
from services.domain.region import NATION, is_region, within
from services.domain.subject import Pepper
from services.results.exchange.clock_skew import ClockSkewMonitor
from services.results.exchange.convert.changes import change_from_proto
from services.results.exchange.convert.positions import position_from_proto, position_to_proto
from services.results.exchange.convert.tubes import tubes_from_proto
from services.results.exchange.downstream.replication.grouping import ArrivedBatch, Decoded, may_join
from services.results.exchange.downstream.replication.streams import Stream
from services.results.exchange.downstream.store import DownstreamStore
from services.results.exchange.limits import check_change, check_instant, check_tubes
from services.results.exchange.model import MAX_CHANGES, NodeLog, Replica, WriterPosition
from services.runtime.background import begin_ahead
from services.runtime.call import Trace
from services.runtime.clock import Clock
from services.runtime.server.service import Drain
from services.runtime.tracing.spans import message_span
from services.storage.pepper_marks import newest_version, require_common_versions

if TYPE_CHECKING:
    from services.runtime.tracing.recording import ActiveSpan

FIRST_FRAME_SECONDS = 30.0
"""How long a stream may stay open without its first frame."""

DECODED_AHEAD = 4
"""The most decoded frames that wait while earlier frames are committed. They can then be committed together."""

_log = structlog.get_logger(__name__)


class _Waiting(NamedTuple):
    """A frame and its decoded content."""

    frame: ReplicateRequest
    decoded: asyncio.Future[Decoded]

    @property
    def is_decoded_batch(self) -> bool:
        """Whether the frame is a batch that was decoded without an error."""
        done = self.decoded.done() and not self.decoded.cancelled() and self.decoded.exception() is None
        return done and self.frame.HasField("batch")


class _Begun(NamedTuple):
    """A stream that has begun: its log, the stream itself, the clock of its node, and the answer to its first frame."""

    log: NodeLog
    stream: Stream
    clock: ClockSkewMonitor
    answer: ReplicateResponse


class ReplicationReceiver:
    """Receives the changes of the nodes below, and stores them. `own` is the region of this node."""

    def __init__(self, store: DownstreamStore, pepper: Pepper, clock: Clock, drain: Drain, own: str = NATION) -> None:
        self._node = format_node(own)
        self._store = store
        self._pepper = pepper
        self._clock = clock
        self._drain = drain

    async def receive(
        self, requests: AsyncIterator[ReplicateRequest], admit: Callable[[str], Awaitable[str]]
    ) -> AsyncIterator[ReplicateResponse]:
        """Answer a stream frame by frame until it ends. gRPC flow control slows the sender down while frames wait.

        `admit` returns the region of the node that the first frame names. It raises if the node may not replicate.

        Raises:
            DeadlineExceeded: DEADLINE, there was no first frame in time.
            FailedPrecondition: PEPPER_MISMATCH, the nodes do not read each other's subject keys.
            InvalidArgument: a frame that no node can have sent.
            OutOfRange: UPLOAD_GAP, a batch begins beyond what is committed.
            Unavailable: SHUTTING_DOWN, the server drains; STREAM_REPLACED, the node has begun another stream.
        """
        frames = aiter(requests)
        begun = await self._begin(frames, admit)
        log = begun.log
        yield begun.answer
        waiting: asyncio.Queue[_Waiting | Exception | None] = asyncio.Queue(DECODED_AHEAD)
        reader = asyncio.ensure_future(self._read_ahead(frames, log.node, waiting))
        ahead: deque[_Waiting | Exception | None] = deque()
        try:
            while (item := ahead.popleft() if ahead else await waiting.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                decoded = await item.decoded
                if item.frame.HasField("checkpoint"):
                    yield await self._record_checkpoint(begun, item.frame.checkpoint)
                    continue
                group = [ArrivedBatch(item.frame.batch, decoded)]
                _take_following(group, waiting, ahead)
                async for answer in self._apply(begun, group):
                    yield answer
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _read_ahead(
        self, frames: AsyncIterator[ReplicateRequest], sender: str, waiting: asyncio.Queue[_Waiting | Exception | None]
    ) -> None:
        """Decode each frame while earlier ones are stored. The last item in `waiting` is the end: None or an error."""
        stopped = Unavailable("SHUTTING_DOWN", english("the server is being stopped; connect again"))
        try:
            async with contextlib.aclosing(self._drain.read(frames, stopped)) as arriving:
                async for frame in arriving:
                    decoded = begin_ahead(asyncio.to_thread(self._decode, frame, sender))
                    await waiting.put(_Waiting(frame, decoded))
        except Exception as error:  # noqa: BLE001 - the reader of the queue raises it after the frames before it
            await waiting.put(error)
        else:
            await waiting.put(None)

    async def _begin(self, frames: AsyncIterator[ReplicateRequest], admit: Callable[[str], Awaitable[str]]) -> _Begun:
        try:
            async with asyncio.timeout(FIRST_FRAME_SECONDS):
                first = await anext(frames, None)
        except TimeoutError:
            text = english(
                "no first frame within {first_frame_seconds:.0f} seconds", first_frame_seconds=FIRST_FRAME_SECONDS
            )
            raise DeadlineExceeded("DEADLINE", text) from None
        if first is None or not first.HasField("start"):
            raise InvalidArgument.field("frame", english('the first frame must be "start"'), "UPLOAD_NOT_STARTED")
        log, skew = self._check(first.start, await admit(first.start.node))
        removed = [position_from_proto(position) for position in first.start.removed]
        stream, positions = await self._store.open_log(log, removed, skew)
        _log.info("a node replicates", node=log.node, log_id=log.log_id, clock_skew_seconds=skew / 1e6)
        clock = ClockSkewMonitor(log.node)
        clock.note(skew)
        answer = self._respond(positions, self._clock.now())
        answer.node = self._node
        answer.capabilities.extend(OWN)
        return _Begun(log, stream, clock, answer)

    def _check(self, start: ReplicateStart, region: str) -> tuple[NodeLog, Span]:
        """Return the log that the stream sends, and how far the clock of the stream's node is ahead."""
        require_common_versions(start, self._pepper)
        now = self._clock.now()
        return NodeLog(region, start.log_id), check_instant(
            from_timestamp(start.send_time), now, "start.send_time"
        ) - now

    async def _apply(self, begun: _Begun, group: Sequence[ArrivedBatch]) -> AsyncIterator[ReplicateResponse]:
        """Store batches, and answer each of them once it is durable."""
        if len(group) > 1:
            with _apply_span(begun, group):
                now = await self._store.apply_group(begun.log, begun.stream, group)
            if now is not None:
                for batch, _ in group:
                    yield self._respond([WriterPosition(batch.writer, batch.next_offset, None)], now)
                return
        for one in group:
            with _apply_span(begun, [one]):
                committed, now = await self._store.apply_batch(begun.log, begun.stream, one)
            yield self._respond([WriterPosition(one.batch.writer, committed, None)], now)

    async def _record_checkpoint(self, begun: _Begun, checkpoint: ReplicateCheckpoint) -> ReplicateResponse:
        log, now = begun.log, self._clock.now()
        as_of_time: Instant | None = None
        skew: Span | None = None
        if checkpoint.HasField("as_of_time"):
            as_of_time = check_instant(from_timestamp(checkpoint.as_of_time), now, "checkpoint.as_of_time")
            # The node reads its clock just before it sends the frame, so a delay on the way makes its clock look late.
            skew = as_of_time - now
            begun.clock.note(skew)
        for one in checkpoint.nodes_below:
            for field in ("as_of_time", "contact_time", "retire_time"):
                if one.HasField(field):
                    check_instant(from_timestamp(getattr(one, field)), now, "checkpoint.nodes_below")
        await self._store.record_checkpoint(log.node, begun.stream, as_of_time, skew, checkpoint)
        if checkpoint.audit_heads:
            await self._store.hold_audit_heads(log.node, checkpoint.audit_heads)
        return self._respond([], self._clock.now())

    def _respond(self, positions: list[WriterPosition], now: Instant) -> ReplicateResponse:
        acknowledged = [position_to_proto(position) for position in positions]
        return ReplicateResponse(positions=acknowledged, commit_time=to_timestamp(now))

    def _decode(self, frame: ReplicateRequest, sender: str) -> Decoded:
        """Decode and check a frame's batch. Raise InvalidArgument for a frame that no node can have sent."""
        if frame.HasField("start"):
            raise InvalidArgument.field("frame", english('only the first frame may be "start"'), "UPLOAD_NOT_STARTED")
        batch = frame.batch
        if batch.next_offset < batch.offset:
            raise InvalidArgument.field("batch.next_offset", english("is before the offset"))
        _check_lives(batch)
        now, key_version = self._clock.now(), newest_version(self._pepper)
        if batch.HasField("commit_time"):
            check_instant(from_timestamp(batch.commit_time), now, "batch.commit_time")
        tubes = [tubes_from_proto(message, sender) for message in batch.tubes]
        if sum(len(some.report_numbers) for some in tubes) + len(batch.changes) > MAX_CHANGES:
            text = english("holds more than {max_changes} persons and changes", max_changes=MAX_CHANGES)
            raise InvalidArgument.field("batch", text, "BATCH_TOO_LARGE")
        changes = [change_from_proto(change) for change in batch.changes]
        for some in tubes:
            check_tubes(some, key_version, now)
        for change in changes:
            check_change(change, key_version, now)
        origins = {change.result.source_node for change in changes if isinstance(change, Replica)}
        origins.update(some.source_node for some in tubes)
        if not all(is_region(origin) and within(origin, sender) for origin in origins):
            text = english("holds a result whose source_node is not the sender or below it")
            raise InvalidArgument.field("batch", text)
        return Decoded(list(map(self._store.form_rows, tubes, batch.tubes)), changes)


def _take_following(
    group: list[ArrivedBatch],
    waiting: asyncio.Queue[_Waiting | Exception | None],
    ahead: deque[_Waiting | Exception | None],
) -> None:
    """Add to a group the decoded batches that wait and may join it.

    The first item that may not join is put into `ahead`, from which the caller takes it next.
    """
    while not waiting.empty():
        item = waiting.get_nowait()
        if isinstance(item, _Waiting) and item.is_decoded_batch:
            arrived = ArrivedBatch(item.frame.batch, item.decoded.result())
            if may_join(group, arrived):
                group.append(arrived)
                continue
        ahead.append(item)
        return


def _apply_span(begun: _Begun, group: Sequence[ArrivedBatch]) -> AbstractContextManager[ActiveSpan | None]:
    """Record a block as the work for the batches of a group, under the span of the first of them that is sampled."""
    traces = (Trace.from_header(one.batch.trace_parent) for one in group)
    sent = next((one for one in traces if one is not None and one.is_sampled), None)
    parent = (sent.trace_id, sent.parent_id) if sent is not None else None
    return message_span("results", "apply batch", {"hutong.sender": begun.log.node}, parent)


def _check_lives(batch: ReplicateBatch) -> None:
    """Check that all positions that a batch states are of its complete commits.

    The positions are in the order of the commits, and each life occurs once.
    """
    sequences = [batch.offset, *(one.sequence for one in batch.lives)]
    if any(after <= before for before, after in pairwise(sequences)) or sequences[-1] > batch.next_offset:
        raise InvalidArgument.field(
            "batch.lives", english("must state ascending sequences of the batch's complete commits")
        )
    if len({one.life for one in batch.lives}) < len(batch.lives):
        raise InvalidArgument.field("batch.lives", english("states a life twice"))
