"""Receives the stream of a node below. Each revision is checked and stored, and each checkpoint is acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_exchange_service_pb2 import (
    PolicySetAsideReason,
    SendPoliciesRequest,
    SendPoliciesResponse,
    SetAsidePolicy,
)
from hutong.policy.v1.policy_service_pb2 import PolicyCheckpoint
from hutong_texts import english
from prometheus_client import Counter

from services.domain.capabilities import OWN
from services.domain.errors import DeadlineExceeded, FailedPrecondition, HutongError, InvalidArgument, Unavailable
from services.domain.instant import Instant
from services.domain.names import format_node, parse_node
from services.domain.nodes import parse_node_below
from services.domain.region import is_region, within
from services.policy.copies import NodeLife
from services.policy.downstream.store import DownstreamStore, Progress, Stream
from services.policy.received import ReceivedRevision, read_policy_instant, read_received
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.serving.publisher import ReadRetired
from services.policy.timing import PolicyTiming
from services.runtime.clock import Clock
from services.runtime.server.service import Drain

SET_ASIDE = Counter("hutong_policy_set_aside_total", "Revisions of nodes below that were set aside", ("node", "reason"))
NOT_ITS_OWN = PolicySetAsideReason.POLICY_SET_ASIDE_REASON_NOT_ITS_OWN
INVALID = PolicySetAsideReason.POLICY_SET_ASIDE_REASON_INVALID
_MOST_NAMED = 100
"""The most revisions that a response names. It therefore stays small, whatever a node sends."""
_NAME_LENGTH = 120
"""The longest name of a revision in the contract. The name of a revision that is set aside may be longer."""


_log = structlog.get_logger(__name__)


class PolicyReceiver:
    """Receives what nodes below send. `own` is the region of this node."""

    def __init__(
        self,
        store: DownstreamStore,
        cache: PolicyBookCache,
        own: str,
        clock: Clock,
        drain: Drain,
        timing: PolicyTiming,
        read_retired: ReadRetired,
    ) -> None:
        self._read_retired = read_retired
        self._store = store
        self._cache = cache
        self._own = own
        self._clock = clock
        self._drain = drain
        self._timing = timing

    async def receive(self, requests: AsyncIterator[SendPoliciesRequest]) -> AsyncIterator[SendPoliciesResponse]:
        """Answer the start and each checkpoint of a stream until it ends.

        Raises:
            DeadlineExceeded: DEADLINE, there was no first message in time.
            FailedPrecondition: NOT_AN_UPSTREAM, this node does not serve the sender.
            InvalidArgument: no node can have sent a message of the stream.
            Unavailable: SHUTTING_DOWN, the server drains; STREAM_REPLACED, the node has begun another stream.
        """
        stopped = Unavailable("SHUTTING_DOWN", english("the server is being stopped; connect again"))
        async with contextlib.aclosing(self._drain.read(aiter(requests), stopped)) as messages:
            async for response in self._answer(messages):
                yield response

    async def _answer(self, messages: AsyncIterator[SendPoliciesRequest]) -> AsyncIterator[SendPoliciesResponse]:
        stream = await self._open(messages)
        yield SendPoliciesResponse(
            cursor=stream.cursor,
            node=format_node(self._own),
            sequence=stream.sequence,
            nodes=[format_node(region) for region in stream.nodes],
            capabilities=OWN,
        )
        intake = _Intake(self._store, self._cache, self._clock, self._timing, stream)
        async for message in messages:
            if message.HasField("event"):
                await intake.add(message.event.policy)
            elif message.HasField("checkpoint"):
                yield await intake.finish(message.checkpoint, message.cursor)
            else:
                raise InvalidArgument.field("start", english('only the first frame may be "start"'))

    async def _open(self, messages: AsyncIterator[SendPoliciesRequest]) -> Stream:
        try:
            async with asyncio.timeout(self._timing.silence_seconds):
                first = await anext(messages, None)
        except TimeoutError:
            raise DeadlineExceeded("DEADLINE", english("no first message in time")) from None
        if first is None or not first.HasField("start"):
            raise InvalidArgument.field("start", english('the first frame must be "start"'))
        region = parse_node_below(first.start.node, self._own, "start.node")
        try:
            stream = await self._store.open_stream(region)
        except FailedPrecondition:
            stream = await self._store.open_stream(region, await self._read_retired())
        await self._cache.refresh()
        _log.info("a node sends its policies", node=region, cursor=stream.cursor)
        return stream


class _Intake:
    """Collects the revisions of one stream. They are stored at each checkpoint, or earlier if there are many."""

    def __init__(
        self, store: DownstreamStore, cache: PolicyBookCache, clock: Clock, timing: PolicyTiming, stream: Stream
    ) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock
        self._timing = timing
        self._stream = stream
        self._cursor = stream.cursor
        self._stored_at = 0.0
        self._received: list[ReceivedRevision] = []
        # A checkpoint states only what has changed. The statements of checkpoints are kept here until they are stored.
        self._extents: dict[str, Instant] = {}
        self._set_aside: list[SetAsidePolicy] = []

    async def add(self, policy: policy_pb2.Policy) -> None:
        """Take in one revision, or set it aside if it is not valid."""
        try:
            self._received.append(read_received(policy))
        except (HutongError, ValueError):
            self._put_aside(policy.name, INVALID)
        if len(self._received) >= self._timing.revisions_per_write:
            await self._store_received(None)

    async def finish(self, checkpoint: PolicyCheckpoint, cursor: str) -> SendPoliciesResponse:
        """Store everything up to a checkpoint and return its acknowledgement."""
        if checkpoint.node != format_node(self._stream.region):
            raise InvalidArgument.field("checkpoint.node", english("is not the sender"))
        self._extents |= self._read_extents(checkpoint)
        lives = self._read_lives(checkpoint)
        if self._received or cursor != self._cursor or lives or self._is_store_due():
            await self._store_received(Progress(cursor, self._extents, lives))
            await self._cache.refresh()
            self._cursor = cursor
            self._extents = {}
            self._stored_at = asyncio.get_running_loop().time()
        named, self._set_aside = self._set_aside[:_MOST_NAMED], []
        return SendPoliciesResponse(cursor=self._cursor, node="", set_aside=named)

    async def _store_received(self, progress: Progress | None) -> None:
        received, self._received = self._received, []
        for name in await self._store.receive(self._stream, received, progress, self._clock.now()):
            self._put_aside(name, NOT_ITS_OWN)

    def _put_aside(self, name: str, reason: PolicySetAsideReason.ValueType) -> None:
        node, why = self._stream.region, "INVALID" if reason == INVALID else "NOT_ITS_OWN"
        SET_ASIDE.labels(format_node(node), why).inc()
        if len(self._set_aside) < _MOST_NAMED:
            _log.error("a policy of a node below is set aside", node=node, policy=name[:_NAME_LENGTH], why=why)
            self._set_aside.append(SetAsidePolicy(name=name[:_NAME_LENGTH], reason=reason))

    def _is_store_due(self) -> bool:
        """Return whether a checkpoint without changes must be stored now. Such checkpoints are stored at intervals."""
        known = self._cache.nodes_below
        is_first = any(at and not known.get(region) for region, at in self._extents.items())
        waited = asyncio.get_running_loop().time() - self._stored_at
        return is_first or waited >= self._timing.position_store_seconds

    def _read_extents(self, checkpoint: PolicyCheckpoint) -> dict[str, Instant]:
        extents = {self._stream.region: read_policy_instant(checkpoint.as_of_time, "checkpoint.as_of_time")}
        for extent in checkpoint.nodes_below:
            region = parse_node(extent.node, "checkpoint.nodes_below.node")
            if region != self._stream.region and is_region(region) and within(region, self._stream.region):
                extents[region] = read_policy_instant(extent.as_of_time, "checkpoint.nodes_below.as_of_time")
        return extents

    def _read_lives(self, checkpoint: PolicyCheckpoint) -> dict[NodeLife, int]:
        lives = {(self._stream.region, one.life): one.sequence for one in checkpoint.lives}
        for one in checkpoint.other_lives:
            region = parse_node(one.node, "checkpoint.other_lives.node")
            if region != self._stream.region and within(region, self._stream.region):
                lives[region, one.position.life] = one.position.sequence
        return lives
