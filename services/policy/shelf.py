"""The book as this process knows it: kept in memory, followed as it changes, swapped whole.

Questions are answered from memory. A publication of this process is on the shelf before it is acknowledged; those of
other processes on the same database are found by asking for the newest sequence again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from services.domain.errors import HutongError, OutOfRange
from services.domain.instant import Instant
from services.policy.model import Revision
from services.policy.resolve import PolicyBook
from services.policy.store import Changes, Store
from services.runtime.clock import Clock

POLL_SECONDS = 0.1
"""Between two looks for publications of other processes."""

_log = structlog.get_logger(__name__)

RevisionKey = tuple[str, str, int]


class Shelf:
    """The newest book and what led to it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._revisions: dict[RevisionKey, tuple[int, Revision]] = {}
        self._known_books: dict[Instant, PolicyBook] = {}
        self._turned = asyncio.Condition()
        self._refreshing = asyncio.Lock()
        self._follower: asyncio.Task[None] | None = None
        self.book = PolicyBook()
        self.sequence = 0
        self.as_of: Instant = 0

    async def open(self) -> None:
        """Read everything, then follow. A database that is away is waited for in the background."""
        try:
            await self.refresh()
        except HutongError:
            _log.warning("policies not read yet")
        self._follower = asyncio.ensure_future(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._follower is not None:
            self._follower.cancel()

    async def refresh(self) -> None:
        """Take in everything committed before this call."""
        async with self._refreshing:
            asked = self._clock.now()
            if self.as_of == 0 or await self._store.newest_sequence() != self.sequence:
                changes = await self._store.read_changes(self.sequence)
                if changes.revisions:
                    self._take_in(changes)
            self.as_of = asked
        async with self._turned:
            self._turned.notify_all()

    def book_known_at(self, known: Instant | None) -> PolicyBook:
        """The book with what was published, and not yet withdrawn, at an instant; None for what is known now."""
        if known is None:
            return self.book
        book = self._known_books.get(known)
        if book is None:
            if len(self._known_books) >= 64:
                self._known_books.clear()
            book = self._known_books[known] = PolicyBook(self.revisions(), known)
        return book

    def with_changes(self, changes: Changes) -> PolicyBook:
        """The book as it is after changes that are not on the shelf yet."""
        if not changes.revisions:
            return self.book
        revisions = self._revisions | {_key(revision): (at, revision) for at, revision in changes.revisions}
        return PolicyBook(revision for _, revision in revisions.values())

    def revisions(self) -> list[Revision]:
        """Every revision, withdrawn ones too."""
        return [revision for _, revision in self._revisions.values()]

    def series(self, region: str, policy_id: str) -> Sequence[Revision]:
        """The revisions of one policy, oldest first; empty when there is none."""
        members = self.book.series.get((region, policy_id), ())
        return sorted(members, key=lambda revision: revision.revision)

    def changes_after(self, sequence: int) -> list[tuple[int, Revision]]:
        """What changed after a sequence, in order.

        Raises:
            OutOfRange: CURSOR_TOO_OLD, no such sequence was ever given out here.
        """
        if sequence > self.sequence:
            raise OutOfRange(
                "CURSOR_TOO_OLD",
                "the cursor is not of this database; begin again without one",
                metadata={"newest": str(self.sequence)},
            )
        return sorted((pair for pair in self._revisions.values() if pair[0] > sequence), key=lambda pair: pair[0])

    async def wait_beyond(self, sequence: int, seconds: float) -> None:
        """Return when something after a sequence is on the shelf, or the time is over."""
        try:
            async with asyncio.timeout(seconds), self._turned:
                await self._turned.wait_for(lambda: self.sequence > sequence)
        except TimeoutError:
            return

    def _take_in(self, changes: Changes) -> None:
        for at, revision in changes.revisions:
            self._revisions[_key(revision)] = (at, revision)
        self.book = PolicyBook(self.revisions())
        self._known_books.clear()
        self.sequence = changes.sequence

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.refresh()
            except HutongError as error:
                # as_of stays behind, and says so in every answer.
                _log.debug("policies not refreshed", reason=error.reason)


def _key(revision: Revision) -> RevisionKey:
    return revision.region, revision.policy_id, revision.revision
