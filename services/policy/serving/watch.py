"""WatchPolicies: a snapshot, then every change as it is published, with checkpoints as heartbeats."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

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
from services.policy.convert import revision_to_proto
from services.policy.model import Revision
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.timing import PolicyTiming
from services.runtime.server.service import Drain

_CURSOR = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
"""A change's sequence and commit time. The time differs if a restored database has used the sequence again."""
_NO_TIME = -1
"""Commit time of a cursor that has none. No change has it."""


class Watch:
    """Sends the changes in the cache to any number of watchers, to each from its own cursor."""

    def __init__(self, cache: PolicyBookCache, jurisdiction: str, drain: Drain, timing: PolicyTiming) -> None:
        self._cache = cache
        self._node = format_node(jurisdiction)
        self._drain = drain
        self._timing = timing

    async def stream(self, request: WatchPoliciesRequest) -> AsyncIterator[WatchPoliciesResponse]:
        """Send everything after the request's cursor until the watcher leaves or the server drains.

        Raises:
            InvalidArgument: the cursor is malformed.
            OutOfRange: CURSOR_TOO_OLD, the cursor is of another history.
            Unavailable: SHUTTING_DOWN, the server drains.
        """
        sent, commit_time = _decode(request.cursor)
        in_snapshot = not request.cursor
        lives: dict[str, int] = {}
        lives_above: dict[tuple[str, str], int] = {}
        self._cache.check_change(sent, commit_time)
        while not self._drain.begun:
            as_of, nation_as_of = self._cache.as_of, self._cache.nation_as_of
            reached, of_lives, above = self._cache.sequence, dict(self._cache.lives), dict(self._cache.lives_above)
            for sequence, revision in self._cache.changes_after(sent):
                event = PolicyEvent(type=_event_type(revision, in_snapshot), policy=revision_to_proto(revision))
                yield WatchPoliciesResponse(event=event, cursor=self._cursor(sequence))
                sent = sequence
            checkpoint = PolicyCheckpoint(as_of_time=to_timestamp(as_of), node=self._node, sequence=reached)
            changed = [(life, at) for life, at in of_lives.items() if lives.get(life) != at]
            checkpoint.lives.extend(LifePosition(life=life, sequence=at) for life, at in changed)
            lives = of_lives
            for (region, life), at in above.items():
                if lives_above.get((region, life)) != at:
                    position = LifePosition(life=life, sequence=at)
                    checkpoint.lives_above.add(node=format_node(region), position=position)
            lives_above = above
            if nation_as_of is not None:
                set_timestamp(checkpoint.nation_as_of_time, nation_as_of)
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
    """Return the sequence and the commit time of a cursor. An empty cursor is before the first change."""
    match = _CURSOR.fullmatch(cursor or "0")
    if match is None:
        raise InvalidArgument.field("cursor", english("is not a cursor of this service"))
    return int(match[1]), int(match[2] or _NO_TIME)
