"""WatchPolicies: a snapshot, then every change as it is published. Checkpoints serve as heartbeats."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

from hutong.policy.v1.policy_service_pb2 import (
    PolicyCheckpoint,
    PolicyEvent,
    PolicyEventType,
    WatchPoliciesRequest,
    WatchPoliciesResponse,
)
from hutong.type.v1.life_position_pb2 import LifePosition
from hutong_texts import english

from services.domain.errors import InvalidArgument, Unavailable
from services.domain.instant import Instant, set_timestamp, to_timestamp
from services.domain.names import format_node
from services.domain.region import within
from services.policy.convert import revision_to_proto
from services.policy.model import Revision
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.timing import PolicyTiming
from services.runtime.server.service import Drain

K = TypeVar("K")

_CURSOR = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
"""The sequence and the commit time of a change. If a restored database uses a sequence again, the time differs."""
_NO_TIME = -1
"""The commit time of a cursor that states none. No change has this commit time."""


class _Stated:
    """What the checkpoints of one watch have stated so far about lives and nodes below.

    The next checkpoint states only what has changed since.
    """

    def __init__(self, own: str, region: str | None) -> None:
        self._own = own
        self._region = region
        self._lives: dict[str, int] = {}
        self._other_lives: dict[tuple[str, str], int] = {}
        self._nodes_below: dict[str, Instant] = {}

    def next_checkpoint(self, cache: PolicyBookCache) -> PolicyCheckpoint:
        """Return a checkpoint of everything in the cache."""
        checkpoint = PolicyCheckpoint(
            as_of_time=to_timestamp(cache.as_of), node=format_node(self._own), sequence=cache.sequence
        )
        if cache.nation_as_of is not None:
            set_timestamp(checkpoint.nation_as_of_time, cache.nation_as_of)
        for life, at in _changed(self._lives, cache.lives).items():
            checkpoint.lives.add(life=life, sequence=at)
        for (region, life), at in _changed(self._other_lives, cache.other_lives).items():
            # To a watcher below this node, the lives of the nodes above the watcher are stated. To the node above this
            # node, the lives of the nodes in `region` are stated.
            if within(self._own, region) if self._region is None else within(region, self._region):
                checkpoint.other_lives.add(node=format_node(region), position=LifePosition(life=life, sequence=at))
        if self._region is not None:
            for region, as_of in _changed(self._nodes_below, cache.nodes_below).items():
                extent = checkpoint.nodes_below.add(node=format_node(region))
                if as_of:
                    set_timestamp(extent.as_of_time, as_of)
        return checkpoint


def _changed(stated: dict[K, int], now: Mapping[K, int]) -> dict[K, int]:
    """Return the entries with values that differ from the stated values, and note them as stated."""
    changed = {key: value for key, value in now.items() if stated.get(key) != value}
    stated.update(changed)
    return changed


class Watch:
    """Sends the changes in the cache to any number of watchers. Each watcher has its own cursor."""

    def __init__(self, cache: PolicyBookCache, jurisdiction: str, drain: Drain, timing: PolicyTiming) -> None:
        self._cache = cache
        self._jurisdiction = jurisdiction
        self._drain = drain
        self._timing = timing

    async def stream(
        self, request: WatchPoliciesRequest, region: str | None = None
    ) -> AsyncIterator[WatchPoliciesResponse]:
        """Send everything after the request's cursor, until the watcher leaves or the server drains.

        With a region, only revisions of the region are sent. The checkpoints then state only how far the nodes in the
        region are known.

        Raises:
            InvalidArgument: the cursor is malformed.
            OutOfRange: CURSOR_TOO_OLD, the cursor is of another history.
            Unavailable: SHUTTING_DOWN, the server drains; DATABASE_UNAVAILABLE, no policy was read yet.
        """
        self._cache.require_read()
        sent, commit_time = _decode(request.cursor)
        in_snapshot = not request.cursor
        stated = _Stated(self._jurisdiction, region)
        self._cache.check_change(sent, commit_time)
        while not self._drain.begun:
            # The checkpoint is made before the changes are read. Every change that it stands for is therefore sent
            # before it.
            checkpoint = stated.next_checkpoint(self._cache)
            for sequence, revision in self._cache.changes_after(sent):
                sent = sequence
                if region is None or within(revision.region, region):
                    event = PolicyEvent(type=_event_type(revision, in_snapshot), policy=revision_to_proto(revision))
                    yield WatchPoliciesResponse(event=event, cursor=self._cursor(sequence))
            yield WatchPoliciesResponse(checkpoint=checkpoint, cursor=self._cursor(sent))
            in_snapshot = False
            await self._cache.wait_beyond(sent, self._timing.heartbeat_seconds)
        raise Unavailable(
            "SHUTTING_DOWN",
            english("the server is being stopped; watch again from the cursor"),
            metadata={"service": "policy"},
        )

    def _cursor(self, sequence: int) -> str:
        return f"{sequence}-{self._cache.commit_time(sequence)}"


def _event_type(revision: Revision, in_snapshot: bool) -> PolicyEventType.ValueType:
    if in_snapshot:
        return PolicyEventType.POLICY_EVENT_TYPE_SNAPSHOT
    if revision.withdraw_time is not None:
        return PolicyEventType.POLICY_EVENT_TYPE_WITHDRAWN
    return PolicyEventType.POLICY_EVENT_TYPE_PUBLISHED


def _decode(cursor: str) -> tuple[int, Instant]:
    """Return the sequence and the commit time of a cursor. An empty cursor lies before the first change."""
    match = _CURSOR.fullmatch(cursor or "0")
    if match is None:
        raise InvalidArgument.field("cursor", english("is not a cursor of this service"))
    return int(match[1]), int(match[2] or _NO_TIME)
