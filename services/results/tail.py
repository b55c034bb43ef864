"""The end of the change log, read once for everybody who follows it.

One poller reads what is new, at once after a commit of this process and a tenth of a second later at most after one of
another's, and keeps the newest of it in a window of bounded size. Whoever is up to date is fed from there. Whoever is
behind the window, because he has just come or takes too long, reads the database for himself, two at a time and in
pages that are small: a follower never holds more than one of them, however slow he is.

    async with tail.follow(cursor) as follower:
        page = await follower.next(until)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import structlog

from services.domain.errors import HutongError
from services.domain.instant import Instant
from services.results.changes import Cursor, Place
from services.results.store import ChangeBatch, Part
from services.runtime.clock import Clock
from services.runtime.unit import Drain

POLL_SECONDS = 0.1
"""Between two looks at the log for commits of other processes: how late one of them may be told."""
GATHER_SECONDS = 0.02
"""Between a commit of this process and the look at the log: those of a busy moment are read together."""
READ_RESULTS = 2_000
"""Results that the poller reads at once: some three megabytes."""
WINDOW_RESULTS = 10_000
"""Results that the window holds: some fifteen megabytes."""
PAGE_RESULTS = 500
"""Results of one page: what a slow follower holds."""
READERS = 2
"""Followers behind the window that read the database at once: half of its threads stay free for look-ups."""

_log = structlog.get_logger(__name__)
_BEGINNING = Place(0)


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

    def __init__(self, log: Log, clock: Clock, drain: Drain, news: asyncio.Event) -> None:
        """`news` is set whenever this process has committed something that stands in the log."""
        self._log = log
        self._clock = clock
        self._drain = drain
        self._news = news
        self._readers = asyncio.Semaphore(READERS)
        self._beginning = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None
        self._followers = 0
        self._waiting: dict[asyncio.Future[None], Instant] = {}
        self.window = _Window({})

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
                self.window = _Window(await self._log.newest_cursor())
                self._poller = asyncio.ensure_future(self._poll(self.window))
            return self.window

    async def read(self, cursor: Cursor) -> ChangePage:
        """A page out of the database. OutOfRange when the cursor is too old or of another log."""
        async with self._readers:
            now = self._clock.now()
            batch = await self._log.read_changes(cursor, now, PAGE_RESULTS)
        return ChangePage(batch.parts, now if batch.is_complete else None)

    async def wait(self, until: Instant) -> None:
        """Return when the window has moved on or ended, or everything acknowledged before an instant is in it."""
        if self._drain.begun:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = until
        try:
            await waiting
        finally:
            del self._waiting[waiting]

    async def _poll(self, window: _Window) -> None:
        try:
            while not self._drain.begun:
                self._news.clear()
                asked = self._clock.now()
                batch = await self._log.read_changes(window.reach, asked, READ_RESULTS)
                window.take_in(batch.parts, asked if batch.is_complete else None)
                self._wake(everybody=bool(batch.parts))
                if batch.is_complete:
                    await self._pause()
        except HutongError as error:
            # Its followers turn to the database themselves, and tell their callers what it says.
            _log.warning("changes not read", reason=error.reason)
        finally:
            if window is self.window:
                self._poller = None
            window.ended = True
            self._wake(everybody=True)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._news.wait()
            await asyncio.sleep(GATHER_SECONDS)

    def _wake(self, *, everybody: bool) -> None:
        for waiting, until in self._waiting.items():
            if not waiting.done() and (everybody or until <= self.window.as_of):
                waiting.set_result(None)

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
        # Where he stands in a window; None while he is behind it.
        self._window: _Window | None = None
        self._position = 0

    async def next(self, until: Instant) -> ChangePage:
        """The next page; an empty one when all is told and nothing comes before an instant, or the server stops.

        Raises:
            OutOfRange: CURSOR_TOO_OLD.
            Unavailable: the database is away.
        """
        while self._is_fed():
            assert self._window is not None
            parts, self._position = self._window.parts_after(self._position, self._cursor, PAGE_RESULTS)
            ended = self._position == self._window.end
            if parts or not ended:
                return self._page(parts, self._window.as_of if ended else None)
            if self._window.as_of >= until or self._tail.is_draining:
                return self._page([], self._window.as_of)
            await self._tail.wait(until)
        window = await self._tail.begin()
        page = await self._tail.read(self._cursor)
        page = self._page(page.parts, page.as_of_time)
        if window.reaches_back_to(self._cursor):
            self._window, self._position = window, window.first
        return page
