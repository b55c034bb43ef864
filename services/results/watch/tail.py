"""The tail of the change log, read once for all of its readers.

One poller reads new changes: at once after a commit of this process, and within a tenth of a second after a commit of
another process. The poller keeps the newest changes in a window of limited size. Readers within the window are served
from it. A reader behind the window, because it is new or slow, reads the database itself, in small pages. Only two
readers do so at once. A reader holds no more than one page, however slow it is.

    async with tail.open(cursor) as reader:
        page = await reader.next(seconds)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import structlog

from services.domain.errors import HutongError
from services.domain.instant import Instant
from services.results.changelog.model import BEGINNING, Cursor
from services.results.timing import ResultsTiming
from services.results.watch.batches import ChangeSlice
from services.results.watch.store import WatchStore
from services.runtime.clock import Clock
from services.runtime.server.service import Drain

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TailLimits:
    """How many results are read and held.

    Attributes:
        read: results that the poller reads at once: about three megabytes.
        window: results that the window holds: about fifteen megabytes.
        page: results of one page. A slow reader holds one page.
        database_reads: readers behind the window that may read the database at once. Half of the database's threads
            stay free for look-ups.
    """

    read: int = 2_000
    window: int = 10_000
    page: int = 500
    database_reads: int = 2


@dataclass(frozen=True, slots=True)
class ChangePage:
    """The next changes for a reader. A change that began after another change was acknowledged comes after it.

    Attributes:
        slices: slices of commits of every kind, in the order in which they are sent. `ChangeSlice.position` is the
            reader's position with the commit's writer afterwards.
        as_of_time: with this page the reader has everything that was acknowledged before this instant. None if there is
            more to read.
    """

    slices: list[ChangeSlice]
    as_of_time: Instant | None


class ChangeTail:
    """The tail of the change log. Polling stops while there are no readers."""

    def __init__(
        self,
        store: WatchStore,
        clock: Clock,
        drain: Drain,
        written: asyncio.Event,
        timing: ResultsTiming,
        limits: TailLimits | None = None,
    ) -> None:
        """Create a tail; `written` is set whenever this process has committed something to the log."""
        self._timing = timing
        self.limits = limits or TailLimits()
        self._store = store
        self._clock = clock
        self._drain = drain
        self._written = written
        self._database_slots = asyncio.Semaphore(self.limits.database_reads)
        self._start_lock = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None
        self._open_readers = 0
        self.window = _Window({}, self.limits.window)

    @contextlib.asynccontextmanager
    async def open(self, cursor: Cursor) -> AsyncIterator[TailReader]:
        """Open a reader that begins after a cursor. The reader is closed when the block ends."""
        self._open_readers += 1
        try:
            yield TailReader(self, cursor)
        finally:
            self._open_readers -= 1
            if not self._open_readers:
                self._stop()

    async def start(self) -> _Window:
        """Return the window that the poller fills. If there is no poller, start one with a new window."""
        async with self._start_lock:
            if self._poller is None:
                self.window = _Window(await self._store.newest_cursor(), self.limits.window)
                self._poller = asyncio.ensure_future(self._poll(self.window))
            return self.window

    async def read(self, cursor: Cursor) -> ChangePage:
        """Return a page from the database. Raises OutOfRange if the cursor is too old or of another log."""
        async with self._database_slots:
            now = self._clock.now()
            batch = await self._store.read_changes(cursor, now, self.limits.page)
        return ChangePage(batch.slices, now if batch.is_complete else None)

    async def _poll(self, window: _Window) -> None:
        try:
            while not self._drain.begun:
                self._written.clear()
                read_time = self._clock.now()
                batch = await self._store.read_changes(window.reach, read_time, self.limits.read)
                window.append(batch.slices, read_time if batch.is_complete else None)
                if batch.is_complete:
                    await self._pause()
        except HutongError as error:
            # From now on the readers read the database themselves, and pass its error on to their callers.
            _log.warning("changes not read", reason=error.reason)
        finally:
            if window is self.window:
                self._poller = None
            window.close()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.tail_poll):
                await self._written.wait()
            await asyncio.sleep(self._timing.tail_gather)

    def _stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            self._poller = None


class TailReader:
    """A reader of the change log. Each reads at its own pace."""

    def __init__(self, tail: ChangeTail, cursor: Cursor) -> None:
        self._tail = tail
        self._cursor = dict(cursor)
        self._as_of: Instant = 0
        # The window that serves this reader; None while the reader reads the database. `_position` is the number of the
        # slice that the reader gets next.
        self._window: _Window | None = None
        self._position = 0

    async def next(self, seconds: float) -> ChangePage:
        """Return the next page. The page is empty if nothing is new after `seconds`, or if the server drains.

        Raises:
            OutOfRange: CURSOR_TOO_OLD, the cursor is too old or of another log.
            Unavailable: the database does not answer.
        """
        until = asyncio.get_running_loop().time() + seconds
        while (window := self._window) is not None and window.still_holds(self._position):
            slices, self._position = window.slices_after(self._position, self._cursor, self._tail.limits.page)
            if slices or asyncio.get_running_loop().time() >= until:
                return self._page(slices, window.as_of if self._position == window.end else None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await window.moved.wait()
        # The window starts before the database is read. Commits during that read are therefore in the window.
        window = await self._tail.start()
        read = await self._tail.read(self._cursor)
        page = self._page(read.slices, read.as_of_time)
        self._window, self._position = (window, window.first) if window.reaches(self._cursor) else (None, 0)
        return page

    def _page(self, slices: list[ChangeSlice], as_of: Instant | None) -> ChangePage:
        """Return a page and move the cursor behind it. The `as_of_time` never decreases from page to page."""
        for slice_ in slices:
            self._cursor[slice_.entry.writer_id] = slice_.position
        if as_of is None:
            return ChangePage(slices, None)
        self._as_of = max(self._as_of, as_of)
        return ChangePage(slices, self._as_of or None)


class _Window:
    """The newest slices of the log, numbered from 0. `as_of` is the time of the poller's last complete read."""

    def __init__(self, floor: Cursor, capacity: int) -> None:
        self._capacity = capacity
        self._slices: deque[ChangeSlice] = deque()
        self._weight = 0
        # The window holds every change between these two cursors.
        self._floor = dict(floor)
        self.reach = dict(floor)
        self.first = 0
        self.as_of: Instant = 0
        # An event that is set when slices are added, and is then replaced by a new event.
        self.moved = asyncio.Event()
        self._is_closed = False

    @property
    def end(self) -> int:
        """The number of the next slice to come."""
        return self.first + len(self._slices)

    def append(self, slices: Sequence[ChangeSlice], as_of: Instant | None) -> None:
        """Add slices, and remove the oldest slices beyond the capacity. `as_of` is None after an incomplete read."""
        for slice_ in slices:
            self._slices.append(slice_)
            self._weight += _weight(slice_)
            self.reach[slice_.entry.writer_id] = slice_.position
        while self._weight > self._capacity:
            oldest = self._slices.popleft()
            self._weight -= _weight(oldest)
            self._floor[oldest.entry.writer_id] = oldest.position
            self.first += 1
        if as_of is not None:
            self.as_of = as_of
        if slices:
            self.moved.set()
            self.moved = asyncio.Event()

    def close(self) -> None:
        """Close the window. Nothing more is added, and its readers read the database."""
        self._is_closed = True
        self.moved.set()

    def reaches(self, cursor: Cursor) -> bool:
        """Return whether the window holds everything after a cursor that the poller has read."""
        return all(cursor.get(writer, BEGINNING) >= position for writer, position in self._floor.items())

    def still_holds(self, position: int) -> bool:
        """Return whether the window is still being filled and holds all slices from a number on."""
        return not self._is_closed and position >= self.first

    def slices_after(self, position: int, cursor: Cursor, limit: int) -> tuple[list[ChangeSlice], int]:
        """Return the slices from a number on, as far as they are after a cursor, up to `limit` results.

        Return also the number to continue from.
        """
        taken: list[ChangeSlice] = []
        while limit > 0 and position < self.end:
            slice_ = self._slices[position - self.first]
            rest = slice_.after(cursor)
            if rest is not None:
                taken.append(rest.up_to(limit))
                limit -= len(taken[-1].results)
                if taken[-1].end < rest.end:
                    break
            position += 1
        return taken, position


def _weight(slice_: ChangeSlice) -> int:
    """Return how many results a slice counts as. The entry itself weighs about as much as five results."""
    return len(slice_.results) + 5
