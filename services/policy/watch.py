"""WatchPolicies: a snapshot, then every change as it is published, with checkpoints as heartbeat."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hutong.policy.v1.policy_service_pb2 import PolicyCheckpoint, WatchPoliciesRequest, WatchPoliciesResponse

from services.domain.errors import InvalidArgument, Unavailable
from services.domain.instant import set_timestamp, to_timestamp
from services.policy.convert import revision_to_proto
from services.policy.shelf import Shelf
from services.runtime.unit import Drain

HEARTBEAT_SECONDS = 1.0
"""The longest a watcher waits for a word: it holds its answers for good as long as the heartbeat lasts."""


class Watch:
    """Tells any number of watchers what is on the shelf, each from a cursor of its own."""

    def __init__(self, shelf: Shelf, drain: Drain) -> None:
        self._shelf = shelf
        self._drain = drain

    async def follow(self, request: WatchPoliciesRequest) -> AsyncIterator[WatchPoliciesResponse]:
        """Tell everything after the request's cursor, for as long as the watcher stays."""
        sent = _decode(request.cursor)
        while not self._drain.begun:
            as_of, nation_as_of = self._shelf.as_of, self._shelf.nation_as_of()
            for sequence, revision in self._shelf.changes_after(sent):
                yield WatchPoliciesResponse(policy=revision_to_proto(revision), cursor=str(sequence))
                sent = sequence
            checkpoint = PolicyCheckpoint(as_of_time=to_timestamp(as_of))
            if nation_as_of is not None:
                set_timestamp(checkpoint.nation_as_of_time, nation_as_of)
            yield WatchPoliciesResponse(checkpoint=checkpoint, cursor=str(sent))
            await self._shelf.wait_beyond(sent, HEARTBEAT_SECONDS)
        raise Unavailable(
            "SHUTTING_DOWN", "the server is being stopped; watch again from the cursor", metadata={"service": "policy"}
        )


def _decode(cursor: str) -> int:
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidArgument.field("cursor", "is not a cursor of this service")
    return int(cursor)
