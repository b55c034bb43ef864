"""WatchResults: the change log as a stream, from a cursor on, with checkpoints as heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from hutong.results.v1.result_pb2 import TestResult
from hutong.results.v1.results_service_pb2 import Checkpoint, ResultFilter, WatchResultsRequest, WatchResultsResponse

from services.domain.errors import Unavailable
from services.domain.instant import SECOND, Span, to_timestamp
from services.domain.names import parse_lab
from services.domain.region import within
from services.results.changes import Cursor, Entry, Place, decode_cursor, encode_cursor
from services.results.convert import known_region, listing_to_proto
from services.results.store import Listing, Store
from services.runtime.clock import Clock
from services.runtime.unit import Drain

POLL_SECONDS = 0.1
"""Between two looks at the log when nothing is new: how late a change may be told."""
HEARTBEAT: Span = 5 * SECOND
"""The longest a watcher waits for a word."""


class Watch:
    """Follows the change log for any number of watchers, each with a cursor of its own."""

    def __init__(self, store: Store, clock: Clock, drain: Drain) -> None:
        self._store = store
        self._clock = clock
        self._drain = drain

    async def follow(self, request: WatchResultsRequest) -> AsyncIterator[WatchResultsResponse]:
        """Tell every change after the request's cursor, for as long as the watcher stays."""
        wants = _Filter(request.filter)
        cursor = decode_cursor(request.cursor) if request.cursor else await self._store.oldest_cursor()
        spoken, behind = self._clock.now(), True
        while not self._drain.begun:
            now = self._clock.now()
            batch = await self._store.read_changes(cursor, now)
            told = False
            for entry, listing in batch:
                for message in _tell(entry, listing, cursor, wants):
                    yield message
                    told = True
            # As soon as all is sent, and while the filter takes nothing of very much: then its cursor moves on.
            due = (behind and not batch) or (not told and now - spoken >= HEARTBEAT)
            behind = bool(batch)
            if due:
                checkpoint = Checkpoint() if batch else Checkpoint(as_of_time=to_timestamp(now))
                yield WatchResultsResponse(checkpoint=checkpoint, cursor=encode_cursor(cursor))
            if due or told:
                spoken = now
            if not batch:
                await self._pause()
        raise Unavailable(
            "SHUTTING_DOWN", "the server is being stopped; watch again from the cursor", metadata={"service": "results"}
        )

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._drain.wait()
        except TimeoutError:
            return


class _Filter:
    """Which changes a watcher wants."""

    def __init__(self, filter_: ResultFilter) -> None:
        self._labs = {f"labs/{parse_lab(name, 'filter.labs')}" for name in filter_.labs}
        self._region = known_region(filter_.sample_region, "filter.sample_region") if filter_.sample_region else ""
        self._outcomes = set(filter_.outcomes)

    def takes(self, result: TestResult) -> bool:
        """Whether the watcher wants this result."""
        return (
            (not self._labs or result.lab in self._labs)
            and (not self._region or within(result.sample_region, self._region))
            and (not self._outcomes or result.outcome in self._outcomes)
        )


def _tell(entry: Entry, listing: Listing, cursor: Cursor, wants: _Filter) -> Iterator[WatchResultsResponse]:
    """An entry's changes that were not dealt with yet. The cursor moves on with each, and goes along with it."""
    found = {(result.report_number, result.revision): result for result in listing_to_proto(listing)}
    dealt = cursor[entry.writer_id].dealt if entry.writer_id in cursor else 0
    for index, report in enumerate(entry.reports):
        result = found.get(report)
        if index < dealt or result is None or not wants.takes(result):
            continue
        ended = index + 1 == len(entry.reports)
        cursor[entry.writer_id] = Place(entry.sequence) if ended else Place(entry.sequence - 1, index + 1)
        yield WatchResultsResponse(change=result, cursor=encode_cursor(cursor))
    cursor[entry.writer_id] = Place(entry.sequence)
