"""The lower end of a replication.

The lower end sends every commit to the node above, in order, until that node acknowledges the commit. When a stream
begins, the node above returns the positions from which to continue. After a crash, neither end therefore needs any
further state. A few batches are sent before earlier batches are answered. A stream that is not answered in time is
closed and opened again.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from hutong.audit.v1.audit_head_pb2 import AuditHead
from hutong.exchange.v1.exchange_service_pb2 import ReplicateRequest, ReplicateResponse, ReplicateStart
from hutong.exchange.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from hutong.type.v1.capability_pb2 import CAPABILITY_LAB_CONTACTS
from prometheus_client import Gauge

from services.domain.capabilities import OWN
from services.domain.instant import SECOND, Instant, from_timestamp, to_timestamp
from services.domain.names import format_node, parse_node
from services.domain.region import NATION
from services.domain.subject import Pepper
from services.results.changelog.model import ChangeKind
from services.results.exchange.apply import select_uploads
from services.results.exchange.clock_skew import ClockSkewMonitor
from services.results.exchange.convert.positions import position_from_proto, position_to_proto
from services.results.exchange.model import Replica
from services.results.exchange.upstream.acknowledgements import AcknowledgedCommit
from services.results.exchange.upstream.backlog import Backlog
from services.results.exchange.upstream.batching import Frame, checkpoint_frame, pack
from services.results.exchange.upstream.below import NOTHING, Statements, StatementsBelow
from services.results.exchange.upstream.outbox import Outgoing, Page
from services.results.exchange.upstream.store import UpstreamStore
from services.results.exchange.withheld import unknown_kinds
from services.results.limits import ResultsLimits
from services.results.timing import ResultsTiming
from services.runtime.background import Job
from services.runtime.client.reconnect import reconnect_forever
from services.runtime.client.reconnecting import OpenChannel
from services.runtime.client.stream_messages import read_message
from services.runtime.clock import Clock
from services.runtime.tracing.spans import end_message, tracer_of
from services.storage.pepper_marks import name_versions

if TYPE_CHECKING:
    from services.runtime.tracing.recording import ActiveSpan

BATCHES_UNDER_WAY = 10
"""The most unanswered frames. The node above commits up to four frames in one transaction and decodes the next four
meanwhile. The other frames are on the network."""
LAG = Gauge("hutong_replication_lag_seconds", "Age of the newest instant up to which the node above has everything")
CONNECTED = Gauge("hutong_replication_connected", "Whether a replication to the node above is connected")
SKEW = Gauge("hutong_clock_skew_seconds", "How far this node's clock is ahead of that of the node above")
for gauge in (LAG, CONNECTED):
    # The value until a sender runs. A node without a node above it keeps this value, because it has neither lag nor
    # connection.
    gauge.set(math.nan)

_log = structlog.get_logger(__name__)


class _LogRenewed(Exception):
    """The log has a new identity, because the node above knows a later state of the log than this store has."""


class Sender:
    """Sends this node's changes to the node above. Only one process of a node sends.

    `state_below` makes the statements of a stream about the nodes below.
    """

    def __init__(
        self,
        store: UpstreamStore,
        open_channel: OpenChannel,
        jurisdiction: str,
        pepper: Pepper,
        clock: Clock,
        timing: ResultsTiming,
        limits: ResultsLimits,
        state_below: Callable[[], StatementsBelow] | None = None,
    ) -> None:
        self._state_below = state_below
        self._below: StatementsBelow | None = None
        self._above = NATION
        self._unknown: frozenset[ChangeKind] = frozenset()
        self._withheld: frozenset[ChangeKind] = frozenset()
        self._store = store
        self._limits = limits
        self._open_channel = open_channel
        self._node = format_node(jurisdiction)
        self._pepper = pepper
        self._clock = clock
        self._timing = timing
        self._backlog = Backlog(store, timing)
        self._skew = ClockSkewMonitor(jurisdiction)
        self._reached: Instant | None = None
        self._life: str | None = None
        self._last_failure = ""

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The background jobs: sending, and counting the backlog."""
        return (self.run, self._backlog.run)

    async def run(self) -> None:
        """Send until cancelled. Unacknowledged changes are sent again at the next start. A background job."""
        LAG.set_function(self._lag)
        CONNECTED.set(0)
        await reconnect_forever(self._replicate, self._report_failure, self._timing.sender_backoff)

    def _lag(self) -> float:
        return float("nan") if self._reached is None else (self._clock.now() - self._reached) / SECOND

    async def _replicate(self) -> None:
        """Run one replication if this process gets the lock of the sender; otherwise wait before the next try."""
        try:
            async with self._store.sending() as is_sender:
                if is_sender:
                    await self._send()
                    return
        except _LogRenewed:
            _log.warning("the nation knows another log of this node; everything is sent again under a new log_id")
            return
        finally:
            CONNECTED.set(0)
        # Another process of this node sends and reports the backlog and the lag, so this process reports neither.
        self._backlog.forget()
        self._reached = None
        await asyncio.sleep(self._timing.sender_standby)

    def _report_failure(self, why: str, text: str) -> None:
        level = "debug" if why == self._last_failure else "warning"
        getattr(_log, level)("replication to the nation interrupted", why=why, text=text)
        self._last_failure = why

    async def _send(self) -> None:
        """Run one stream from the positions of the node above until the stream ends.

        The connection is closed with the stream.
        """
        async with self._open_channel() as channel:
            await self._send_by(ExchangeServiceStub(channel).Replicate())

    async def _send_by(self, call: Any) -> None:
        try:
            sent = await self._open(call)
            CONNECTED.set(1)
            self._last_failure = ""
            unanswered: deque[Frame] = deque()
            slots = asyncio.Semaphore(BATCHES_UNDER_WAY)
            answers = asyncio.ensure_future(self._read_answers(call, unanswered, slots))
            frames = asyncio.ensure_future(self._send_frames(call, sent, unanswered, slots))
            try:
                await asyncio.wait([answers, frames], return_when=asyncio.FIRST_COMPLETED)
                for ended in (answers, frames):
                    if ended.done():
                        ended.result()
            finally:
                for task in (answers, frames):
                    task.cancel()
                await asyncio.gather(answers, frames, return_exceptions=True)
                for frame in unanswered:
                    end_message(frame.span, "UNANSWERED")
        finally:
            call.cancel()

    async def _open(self, call: Any) -> dict[int, int]:
        """Start the stream. Return how many commits of each writer the node above has."""
        # The life is read before the positions are compared, and each page is read in this life.
        self._life = await self._store.read_life()
        log_id = await self._store.read_log_id()
        removed = await self._store.removed_positions()
        sent_time = self._clock.now()
        start = ReplicateStart(
            node=self._node,
            log_id=log_id,
            removed=[position_to_proto(position) for position in removed],
            send_time=to_timestamp(sent_time),
            capabilities=OWN,
        )
        name_versions(start, self._pepper)
        async with asyncio.timeout(self._timing.sender_answer):
            await call.write(ReplicateRequest(start=start))
            answer = await read_message(call, ReplicateResponse)
        self._measure_skew(sent_time, answer)
        # A node of an older release states no name. It is the nation.
        self._above = parse_node(answer.node) if answer.node else NATION
        self._unknown, self._withheld = unknown_kinds(answer.capabilities), frozenset()
        self._below = self._state_below() if self._state_below is not None else None
        positions = [position_from_proto(position) for position in answer.positions]
        if not await self._store.is_of_this_log(positions):
            await self._store.renew_log_id()
            self._backlog.start_from(())
            raise _LogRenewed
        self._backlog.start_from(positions)
        is_new = len(positions) <= len(removed)
        if is_new:
            await self._store.append_registers()
        takes_contacts = CAPABILITY_LAB_CONTACTS in answer.capabilities
        await self._store.append_contacts(self._above if takes_contacts else "", has_all_labs=is_new)
        await self._store.append_withheld(self._above, self._unknown)
        _log.info(
            "replication to the nation connected",
            writers=len(positions),
            not_sent=[kind.name for kind in self._unknown],
        )
        return {position.writer: position.offset for position in positions}

    def _measure_skew(self, sent_time: Instant, answer: ReplicateResponse) -> None:
        middle = (sent_time + self._clock.now()) // 2
        skew = middle - from_timestamp(answer.commit_time)
        SKEW.set(skew / SECOND)
        self._skew.note(skew)

    async def _send_frames(
        self, call: Any, sent: dict[int, int], unanswered: deque[Frame], slots: asyncio.Semaphore
    ) -> None:
        """Send new commits, and a checkpoint whenever all are sent. The next page is read while a page is sent."""
        last_beat = next_heads = 0.0
        reading = asyncio.ensure_future(self._read_frames(sent))
        try:
            while True:
                now, below, page, frames = await reading
                for commit in page.commits:
                    sent[commit.entry.writer_id] = commit.entry.sequence
                if page.commits:
                    reading = asyncio.ensure_future(self._read_frames(sent))
                for frame in frames:
                    await self._send_frame(call, frame, unanswered, slots)
                loop_time = asyncio.get_running_loop().time()
                # While there is a backlog, a checkpoint only states the size of the backlog. One checkpoint for each
                # heartbeat is then enough.
                if (page.commits and not page.backlog) or loop_time - last_beat >= self._timing.sender_heartbeat:
                    heads: Sequence[AuditHead] = ()
                    if loop_time >= next_heads:
                        heads = await self._store.read_audit_heads()
                        next_heads = loop_time + self._timing.sender_audit_heads
                    checkpoint = checkpoint_frame(now, page.backlog, heads, below)
                    await self._send_frame(call, checkpoint, unanswered, slots)
                    if self._below is not None and not page.backlog:
                        self._below.note_sent(below)
                    last_beat = loop_time
                if not page.commits:
                    await asyncio.sleep(self._timing.sender_idle)
                    reading = asyncio.ensure_future(self._read_frames(sent))
        finally:
            reading.cancel()

    async def _read_frames(self, sent: Mapping[int, int]) -> tuple[Instant, Statements, Page, list[Frame]]:
        """Read the next page.

        The instant and the statements about nodes below are read before the page. Every commit that they stand for is
        therefore in the page or in its backlog.
        """
        now = self._clock.now()
        below = NOTHING if self._below is None else await self._below.read()
        page = await self._store.read_page(sent, self._unknown, self._life)
        if page.withheld - self._withheld:
            # The withheld kinds must be durable before the node above acknowledges the commits.
            await self._store.note_withheld(self._above, page.withheld)
            self._withheld |= page.withheld
        return now, below, page, await asyncio.to_thread(pack, page, now, self._limits.replication_batch_bytes)

    async def _send_frame(self, call: Any, frame: Frame, unanswered: deque[Frame], slots: asyncio.Semaphore) -> None:
        await slots.acquire()
        span = _begin_span(frame)
        unanswered.append(frame._replace(sent_time=self._clock.now(), span=span))
        await call.write(frame.request)

    async def _read_answers(self, call: Any, unanswered: deque[Frame], slots: asyncio.Semaphore) -> None:
        """Read answers, which come in the order of the frames, and record the acknowledged commits."""
        while True:
            async with asyncio.timeout(self._timing.sender_answer):
                answer = await read_message(call, ReplicateResponse)
            frame = unanswered.popleft()
            slots.release()
            end_message(frame.span)
            if frame.as_of_time is not None:
                self._reached = frame.as_of_time
            # The time in the answer to a batch is the time of the batch's transaction, not of the answer.
            if frame.sent_time is not None and frame.request.HasField("checkpoint"):
                self._measure_skew(frame.sent_time, answer)
            self._backlog.acknowledge(map(position_from_proto, answer.positions))
            national_receive_time = from_timestamp(answer.commit_time)
            if frame.commits:
                known = national_receive_time if self._above == NATION else None
                await self._store.record_acknowledged([_acknowledged(commit, known) for commit in frame.commits])


def _begin_span(frame: Frame) -> ActiveSpan | None:
    """Begin the span of a batch, and name the span in the batch.

    Return None for other frames and for batches that are not sampled.
    """
    tracer = tracer_of("results")
    if tracer is None or not frame.request.HasField("batch"):
        return None
    span = tracer.begin_message("replicate batch", {"hutong.batch.commits": len(frame.commits)}, None)
    if span is not None:
        frame.request.batch.trace_parent = span.to_header()
    return span


def _acknowledged(commit: Outgoing, national_receive_time: Instant | None) -> AcknowledgedCommit:
    entry = commit.entry
    # Delays to the nation are counted only where the nation is the node above.
    uploads = {} if national_receive_time is None else _list_uploads(commit)
    return AcknowledgedCommit(
        entry.writer_id, entry.sequence, entry.lab, uploads, national_receive_time, bool(entry.other_keys)
    )


def _list_uploads(commit: Outgoing) -> dict[Instant, list[Instant]]:
    """Return the report times of the reports that were uploaded, by upload time."""
    uploads: dict[Instant, list[Instant]] = {}
    for tubes in commit.tubes:
        uploads.setdefault(tubes.upload_time, []).extend(tubes.report_times())
    for change in commit.changes:
        if isinstance(change, Replica):
            uploads.setdefault(change.result.upload_time, [])
    for replica in select_uploads(commit.changes):
        uploads[replica.result.upload_time].append(replica.result.reference_time)
    return uploads
