"""WatchResults: the change log as a stream from a cursor on, with checkpoints as heartbeats."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from hutong.results.v1.results_service_pb2 import Checkpoint, ResultFilter, WatchResultsRequest, WatchResultsResponse
from hutong_texts import english

from services.domain.errors import ResourceExhausted, Unavailable
from services.domain.fields import known_region
from services.domain.instant import SECOND, Span, optional_timestamp
from services.domain.names import parse_items, parse_lab
from services.domain.region import within
from services.results.changelog.model import Cursor
from services.results.records.convert import result_to_proto
from services.results.records.model import StoredResult
from services.results.timing import ResultsTiming
from services.results.watch.batches import ChangeSlice
from services.results.watch.cursors import decode_cursor, encode_cursor
from services.results.watch.store import WatchStore
from services.results.watch.tail import ChangeTail
from services.runtime.server.service import Drain

RETRY_AFTER: Span = 5 * SECOND
"""How long a watcher ought to wait before another attempt if every slot is occupied."""


class Watch:
    """Streams the change log to at most `most` watchers at once, each from its own cursor."""

    def __init__(self, store: WatchStore, tail: ChangeTail, drain: Drain, most: int, timing: ResultsTiming) -> None:
        self._timing = timing
        self._store = store
        self._tail = tail
        self._drain = drain
        self._most = most
        self._watchers = 0

    async def watch(self, request: WatchResultsRequest) -> AsyncIterator[WatchResultsResponse]:
        """Send the changes after the request's cursor, filtered, until the watcher ends the call.

        Without a cursor the stream begins with the oldest entry.

        Raises:
            InvalidArgument: a malformed cursor or filter.
            OutOfRange: CURSOR_TOO_OLD, the cursor is too old or of another log.
            ResourceExhausted: OVERLOADED, every slot is occupied.
            Unavailable: SHUTTING_DOWN, the server drains.
        """
        wants = _Filter(request.filter)
        cursor = decode_cursor(request.cursor) if request.cursor else None
        with self._slot():
            if cursor is None:
                cursor = await self._store.oldest_cursor()
            async for message in self._stream(cursor, wants):
                yield message
        raise Unavailable(
            "SHUTTING_DOWN",
            english("the server is being stopped; watch again from the cursor"),
            metadata={"service": "results"},
        )

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        """Occupy a slot for a watcher. Raises ResourceExhausted if none is free."""
        if self._watchers >= self._most:
            raise ResourceExhausted(
                "OVERLOADED",
                english("{most} watchers are served already; try again", most=self._most),
                retry_after=RETRY_AFTER,
                metadata={"limit": str(self._most), "what": "watchers"},
            )
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    async def _stream(self, cursor: Cursor, wants: _Filter) -> AsyncIterator[WatchResultsResponse]:
        """Return messages until the server drains. Each message has the cursor behind its changes."""
        now = asyncio.get_running_loop().time
        last_sent, checkpoint_due = now(), True
        async with self._tail.open(cursor) as reader:
            while not self._drain.begun:
                page = await reader.next(last_sent + self._timing.watch_heartbeat - now())
                for slice_ in page.slices:
                    for message in _messages_of(slice_, cursor, wants):
                        yield message
                        last_sent, checkpoint_due = now(), True
                # One checkpoint is sent as soon as everything is sent. Later checkpoints are heartbeats, which are sent
                # even while the filter drops all changes.
                reached = page.as_of_time
                if (reached is not None and checkpoint_due) or now() - last_sent >= self._timing.watch_heartbeat:
                    checkpoint = Checkpoint(as_of_time=optional_timestamp(reached))
                    yield WatchResultsResponse(checkpoint=checkpoint, cursor=encode_cursor(cursor))
                    last_sent, checkpoint_due = now(), reached is None


class _Filter:
    """The filter of a watch."""

    def __init__(self, filter_: ResultFilter) -> None:
        self._labs = {parse_lab(name, "filter.labs") for name in filter_.labs}
        self._region = known_region(filter_.sample_region, "filter.sample_region") if filter_.sample_region else ""
        self._outcomes = set(filter_.outcomes)
        self._items = set(parse_items(filter_.items, "filter.items"))

    def takes(self, result: StoredResult) -> bool:
        """Return whether the filter lets this result through."""
        return (
            (not self._labs or result.lab in self._labs)
            and (not self._region or within(result.sample_region, self._region))
            and (not self._outcomes or result.outcome in self._outcomes)
            and (not self._items or result.item in self._items)
        )


def _messages_of(slice_: ChangeSlice, cursor: Cursor, wants: _Filter) -> Iterator[WatchResultsResponse]:
    """Return the results that the filter lets through.

    Move `cursor` behind each of them, and at the end behind the slice.
    """
    writer = slice_.entry.writer_id
    for index, found in enumerate(slice_.results, slice_.start):
        if found is not None and wants.takes(found[0]):
            cursor[writer] = slice_.position_at(index + 1)
            yield WatchResultsResponse(change=result_to_proto(*found), cursor=encode_cursor(cursor))
    cursor[writer] = slice_.position
