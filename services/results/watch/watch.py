"""WatchResults: the change log as a stream, from a cursor on, with checkpoints as heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from hutong.results.v1.results_service_pb2 import Checkpoint, ResultFilter, WatchResultsRequest, WatchResultsResponse

from services.domain.errors import ResourceExhausted, Unavailable
from services.domain.instant import SECOND, Span, to_timestamp
from services.domain.names import parse_lab
from services.domain.region import within
from services.results.changelog.model import Cursor
from services.results.fields import known_region
from services.results.records.convert import result_to_proto
from services.results.records.model import StoredResult
from services.results.timing import ResultsTiming
from services.results.watch.batches import Part
from services.results.watch.cursors import decode_cursor, encode_cursor
from services.results.watch.store import WatchStore
from services.results.watch.tail import ChangeTail
from services.runtime.server.service import Drain

RETRY_AFTER: Span = 5 * SECOND
"""After what time one for whom there was no room is to try again."""


class Watch:
    """Tells the change log to watchers, each from a cursor of its own, up to a number of them at once."""

    def __init__(self, store: WatchStore, tail: ChangeTail, drain: Drain, most: int, timing: ResultsTiming) -> None:
        self._timing = timing
        self._store = store
        self._tail = tail
        self._drain = drain
        self._most = most
        self._watchers = 0

    async def watch(self, request: WatchResultsRequest) -> AsyncIterator[WatchResultsResponse]:
        """Tell every change after the request's cursor, for as long as the watcher stays."""
        wants = _Filter(request.filter)
        cursor = decode_cursor(request.cursor) if request.cursor else None
        with self._slot():
            if cursor is None:
                cursor = await self._store.oldest_cursor()
            async for message in self._tell(cursor, wants):
                yield message
        raise Unavailable(
            "SHUTTING_DOWN", "the server is being stopped; watch again from the cursor", metadata={"service": "results"}
        )

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        """One of the places for watchers. ResourceExhausted when none is free."""
        if self._watchers >= self._most:
            raise ResourceExhausted(
                "OVERLOADED",
                f"{self._most} watchers are served already; try again",
                retry_after=RETRY_AFTER,
                metadata={"limit": str(self._most), "what": "watchers"},
            )
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    async def _tell(self, cursor: Cursor, wants: _Filter) -> AsyncIterator[WatchResultsResponse]:
        """Messages until the server stops. The cursor moves on with each, and goes along with it."""
        now = asyncio.get_running_loop().time
        spoken, to_confirm = now(), True
        async with self._tail.follow(cursor) as follower:
            while not self._drain.begun:
                page = await follower.next(spoken + self._timing.watch_heartbeat - now())
                for part in page.parts:
                    for message in _tell_part(part, cursor, wants):
                        yield message
                        spoken, to_confirm = now(), True
                # As soon as all is told, then as a heartbeat: also while the filter takes nothing of very much.
                reached = page.as_of_time
                if (reached is not None and to_confirm) or now() - spoken >= self._timing.watch_heartbeat:
                    checkpoint = Checkpoint(as_of_time=None if reached is None else to_timestamp(reached))
                    yield WatchResultsResponse(checkpoint=checkpoint, cursor=encode_cursor(cursor))
                    spoken, to_confirm = now(), reached is None


class _Filter:
    """Which changes a watcher wants."""

    def __init__(self, filter_: ResultFilter) -> None:
        self._labs = {parse_lab(name, "filter.labs") for name in filter_.labs}
        self._region = known_region(filter_.sample_region, "filter.sample_region") if filter_.sample_region else ""
        self._outcomes = set(filter_.outcomes)

    def takes(self, result: StoredResult) -> bool:
        """Whether the watcher wants this result."""
        return (
            (not self._labs or result.lab in self._labs)
            and (not self._region or within(result.sample_region, self._region))
            and (not self._outcomes or result.outcome in self._outcomes)
        )


def _tell_part(part: Part, cursor: Cursor, wants: _Filter) -> Iterator[WatchResultsResponse]:
    """The results that a watcher wants. The cursor moves on with each, and at last behind all."""
    writer = part.entry.writer_id
    for index, told in enumerate(part.results, part.start):
        if told is not None and wants.takes(told[0]):
            cursor[writer] = part.place_at(index + 1)
            yield WatchResultsResponse(change=result_to_proto(*told), cursor=encode_cursor(cursor))
    cursor[writer] = part.place
