"""The end of the change log, read once for everybody who follows it.

One poller reads what is new, at once after a commit of this process and a tenth of a second later at most after one of
another's, and keeps the newest of it in a window of bounded size. Whoever is up to date is fed from there. Whoever is
behind the window, because he has just come or takes too long, reads the database for himself, two at a time and in
pages that are small: a follower never holds more than one of them, however slow he is.

    async with tail.follow(cursor) as follower:
        page = await follower.next(seconds)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from services.domain.errors import HutongError
from services.domain.instant import Instant
from services.results.changelog.model import BEGINNING, Cursor
from services.results.timing import ResultsTiming
from services.results.watch.batches import ChangeBatch, Part
from services.runtime.clock import Clock
from services.runtime.server.service import Drain

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TailLimits:
    """How many results are held and read.

    Attributes:
        read: results that the poller reads at once: some three megabytes.
        window: results that the window holds: some fifteen megabytes.
        page: results of one page: what a slow follower holds.
        readers: followers behind the window that read the database at once. Half of its threads stay free for look-ups.
    """

    read: int = 2_000
    window: int = 10_000
    page: int = 500
    readers: int = 2


class Log(Protocol):
    """What is asked of the store."""

    async def newest_cursor(self) -> Cursor:
        """The cursor after everything that is committed."""
        ...

    async def read_changes(self, cursor: Cursor, now: Instant, limit: int) -> ChangeBatch:
        """What was committed after a cursor, up to `limit` results. OutOfRange when it is too old."""
        ...


@dataclass(frozen=True, slots=True)
class ChangePage:
    """What comes next for a follower: no change before one that was acknowledged before it began.

    Attributes:
        parts: commits or parts of them, of every kind, in the order they are to be told; `Part.place` is where the
            cursor stands with the commit's writer afterwards.
        as_of_time: with this page the follower has everything that was acknowledged before this instant; None while
            there is more to come.
    """

    parts: list[Part]
    as_of_time: Instant | None


class ChangeTail:
    """The end of the change log. Reads only while it is followed."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        drain: Drain,
        news: asyncio.Event,
        timing: ResultsTiming,
        limits: TailLimits | None = None,
    ) -> None:
        """`news` is set whenever this process has committed something that stands in the log."""
        self._timing = timing
        self.limits = limits or TailLimits()
        self._log = log
        self._clock = clock
        self._drain = drain
        self._news = news
        self._readers = asyncio.Semaphore(self.limits.readers)
        self._beginning = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None
        self._followers = 0
        self.window = _Window({}, self.limits.window)

    @contextlib.asynccontextmanager
    async def follow(self, cursor: Cursor) -> AsyncIterator[Follower]:
        """Follow the log from a cursor on, until the block ends."""
        self._followers += 1
        try:
            yield Follower(self, cursor)
        finally:
            self._followers -= 1
            if not self._followers:
                self._stop()

    async def begin(self) -> _Window:
        """The window that is being fed; a new one at the end of the log when none is."""
        async with self._beginning:
            if self._poller is None:
                self.window = _Window(await self._log.newest_cursor(), self.limits.window)
                self._poller = asyncio.ensure_future(self._poll(self.window))
            return self.window

    async def read(self, cursor: Cursor) -> ChangePage:
        """A page out of the database. OutOfRange when the cursor is too old or of another log."""
        async with self._readers:
            now = self._clock.now()
            batch = await self._log.read_changes(cursor, now, self.limits.page)
        return ChangePage(batch.parts, now if batch.is_complete else None)

    async def _poll(self, window: _Window) -> None:
        try:
            while not self._drain.begun:
                self._news.clear()
                asked = self._clock.now()
                batch = await self._log.read_changes(window.reach, asked, self.limits.read)
                window.take_in(batch.parts, asked if batch.is_complete else None)
                if batch.is_complete:
                    await self._pause()
        except HutongError as error:
            # Its followers turn to the database themselves, and tell their callers what it says.
            _log.warning("changes not read", reason=error.reason)
        finally:
            if window is self.window:
                self._poller = None
            window.shut()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.tail_poll):
                await self._news.wait()
            await asyncio.sleep(self._timing.tail_gather)

    def _stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            self._poller = None


class Follower:
    """One who follows the log, at a pace of his own."""

    def __init__(self, tail: ChangeTail, cursor: Cursor) -> None:
        self._tail = tail
        self._cursor = dict(cursor)
        self._as_of: Instant = 0
        # Where he stands in the window that feeds him; None while he reads for himself.
        self._window: _Window | None = None
        self._position = 0

    async def next(self, seconds: float) -> ChangePage:
        """The next page; an empty one when all is told and nothing more comes for so long, or the server stops.

        Raises:
            OutOfRange: CURSOR_TOO_OLD.
            Unavailable: the database is away.
        """
        until = asyncio.get_running_loop().time() + seconds
        while (window := self._window) is not None and window.still_holds(self._position):
            parts, self._position = window.parts_after(self._position, self._cursor, self._tail.limits.page)
            if parts or asyncio.get_running_loop().time() >= until:
                return self._page(parts, window.as_of if self._position == window.end else None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await window.moved.wait()
        # Begun before the reading, so that what is committed meanwhile is in it.
        window = await self._tail.begin()
        read = await self._tail.read(self._cursor)
        page = self._page(read.parts, read.as_of_time)
        self._window, self._position = (window, window.first) if window.reaches(self._cursor) else (None, 0)
        return page

    def _page(self, parts: list[Part], as_of: Instant | None) -> ChangePage:
        """A page, with the cursor moved beyond it; what was said to be reached once stays reached."""
        for part in parts:
            self._cursor[part.entry.writer_id] = part.place
        if as_of is None:
            return ChangePage(parts, None)
        self._as_of = max(self._as_of, as_of)
        return ChangePage(parts, self._as_of or None)


class _Window:
    """The newest parts of the log, numbered from 0 on. Times are of the poller's looks at the log."""

    def __init__(self, floor: Cursor, capacity: int) -> None:
        self._capacity = capacity
        self._parts: deque[Part] = deque()
        self._weight = 0
        # Nothing that lies between these two cursors is missing.
        self._floor = dict(floor)
        self.reach = dict(floor)
        self.first = 0
        self.as_of: Instant = 0
        # Set, and another put in its place, when there is more.
        self.moved = asyncio.Event()
        self._is_shut = False

    @property
    def end(self) -> int:
        """The number that the next part will have."""
        return self.first + len(self._parts)

    def take_in(self, parts: Sequence[Part], as_of: Instant | None) -> None:
        """Add what was read, all that was acknowledged before an instant unless it is None; the oldest goes for it."""
        for part in parts:
            self._parts.append(part)
            self._weight += _weight(part)
            self.reach[part.entry.writer_id] = part.place
        while self._weight > self._capacity:
            oldest = self._parts.popleft()
            self._weight -= _weight(oldest)
            self._floor[oldest.entry.writer_id] = oldest.place
            self.first += 1
        if as_of is not None:
            self.as_of = as_of
        if parts:
            self.moved.set()
            self.moved = asyncio.Event()

    def shut(self) -> None:
        """Nothing more comes."""
        self._is_shut = True
        self.moved.set()

    def reaches(self, cursor: Cursor) -> bool:
        """Whether everything after a cursor that was read is here."""
        return all(cursor.get(writer, BEGINNING) >= place for writer, place in self._floor.items())

    def still_holds(self, position: int) -> bool:
        """Whether everything from a number on is here, and will be."""
        return not self._is_shut and position >= self.first

    def parts_after(self, position: int, cursor: Cursor, limit: int) -> tuple[list[Part], int]:
        """What lies after a cursor from a number on, up to `limit` results, and the number to go on from."""
        taken: list[Part] = []
        while limit > 0 and position < self.end:
            part = self._parts[position - self.first]
            rest = part.after(cursor)
            if rest is not None:
                taken.append(rest.up_to(limit))
                limit -= len(taken[-1].results)
                if taken[-1].end < rest.end:
                    break
            position += 1
        return taken, position


def _weight(part: Part) -> int:
    """In results; what a commit of few weighs besides."""
    return len(part.results) + 5
