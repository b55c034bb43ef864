"""Keeps the policy book in the memory of this process up to date. Each change makes a new book.

Questions are answered from memory. A publication of this process is in the cache before it is acknowledged. Polling for
the newest sequence finds publications of other processes on the same database.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Mapping

import structlog
from hutong_texts import english
from sqlalchemy import Connection

from services.domain.errors import HutongError, OutOfRange, Unavailable
from services.domain.instant import SECOND, Instant
from services.domain.region import NATION
from services.policy.changes import Changes, read_changes
from services.policy.model import Revision
from services.policy.rules.resolve import PolicyBook
from services.policy.store import PolicyStore
from services.runtime.clock import Clock

_log = structlog.get_logger(__name__)

UNKNOWN_EXTENT: Instant = 0
"""The earliest instant. It says that some of the nation's policies are here and others may be missing."""

RevisionKey = tuple[str, str, int]


class PolicyBookCache:
    """The newest policy book and the changes that led to it.

    Attributes:
        sequence: the sequence of the last change in the book.
        as_of: the book holds everything committed in this database up to this instant; 0 before the first read.
        nation_as_of: the book holds everything that the nation, and each node between it and this node, had published
            by this instant of its own clock. None at the nation, and at a node that has received nothing from above.
            UNKNOWN_EXTENT if policies were received, but no checkpoint with this instant. That happens if the receiving
            process was killed, or if the node above does not know the instant itself.
        lives: the newest sequence of each life of this database.
        other_lives: the newest sequence of each life of the databases of other nodes, by region and life. Only changes
            that are in the book count.
        nodes_below: an instant for each node below, by the node's region. The book holds everything that the node had
            published by this instant of its own clock; 0 if the instant is not known.
    """

    def __init__(self, store: PolicyStore, clock: Clock, *, is_province: bool = False) -> None:
        self._store = store
        self._is_province = is_province
        self._clock = clock
        # Every change in order, and the sequence of each revision's last change. Watchers get only the last change.
        self._sequences: list[int] = []
        self._changed: list[Revision] = []
        self._last: dict[RevisionKey, int] = {}
        self._commit_times: dict[int, Instant] = {}
        self._life_of: dict[int, str] = {}
        self._refreshed = asyncio.Condition()
        self._refreshing = asyncio.Lock()
        self._book = PolicyBook()
        self.sequence = 0
        self.as_of: Instant = 0
        self.nation_as_of: Instant | None = None
        self.lives: dict[str, int] = {}
        self.other_lives: dict[tuple[str, str], int] = {}
        self.nodes_below: dict[str, Instant] = {}

    @property
    def book(self) -> PolicyBook:
        """Everything published, as far as this process knows it. Raises Unavailable as `require_read`."""
        self.require_read()
        return self._book

    def require_read(self) -> None:
        """Check that the policies were read once. Until then their absence must not be taken for an answer.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, the database was not reached or not migrated since the start.
        """
        if self.as_of == 0:
            raise Unavailable(
                "DATABASE_UNAVAILABLE",
                english("the policies were not read from the database yet; try again"),
                retry_after=SECOND,
            )

    async def poll(self, seconds: float) -> None:
        """Look for publications of other processes until cancelled. A background job.

        The first read is done by the health check, once the database is migrated.
        """
        while True:
            await asyncio.sleep(seconds)
            if self.as_of == 0:
                continue
            try:
                await self.refresh()
            except HutongError as error:
                # as_of stays as it is, so every answer shows how old the book is.
                _log.debug("policies not refreshed", reason=error.reason)

    async def refresh(
        self, nation_as_of: Instant | None = None, other_lives: Mapping[tuple[str, str], int] | None = None
    ) -> None:
        """Read everything committed before this call.

        `nation_as_of` and `other_lives` say how far the policies of other nodes are committed here.
        """
        async with self._refreshing:
            asked = self._clock.now()
            nodes_below, newest = await self._store.read_heads()
            # The sequences of lives are read before the changes that they stand for. They become valid once these
            # changes are in the book. Another process may have received such changes from a node below since `newest`
            # was read.
            lives = await self._store.read_lives_below() if nodes_below != self.nodes_below else {}
            if self.as_of == 0 or newest != self.sequence or lives:
                changes = await self._store.read_changes(self.sequence)
                if changes.revisions:
                    self._apply(changes)
            self.as_of = asked
            if nation_as_of is not None:
                self.nation_as_of = nation_as_of
            self.other_lives |= lives | dict(other_lives or {})
            self.nodes_below = nodes_below
        async with self._refreshed:
            self._refreshed.notify_all()

    def read_book(self, connection: Connection) -> PolicyBook:
        """Return the book as a transaction sees it. It includes committed changes that are not in the cache yet."""
        # The sequence is taken before the book, because the cache may be refreshed meanwhile. A change may then be
        # applied twice, with the same content both times.
        changes = read_changes(connection, self.sequence)
        return self._with_changes(changes)

    def _with_changes(self, changes: Changes) -> PolicyBook:
        """Return the book with changes that are not in the cache yet."""
        if not changes.revisions:
            return self._book
        return self._book.with_revisions(revision for _, revision in changes.revisions)

    def commit_time(self, sequence: int) -> Instant:
        """Return when a change was committed; 0 for sequence 0, which is before the first change."""
        return self._commit_times[sequence] if sequence else 0

    def life_of(self, sequence: int) -> str | None:
        """Return the life of the database in which a change was made; None if there is no such change."""
        return self._life_of.get(sequence)

    def check_change(self, sequence: int, commit_time: Instant) -> None:
        """Check that the change with this sequence was committed at this time.

        Raises:
            OutOfRange: CURSOR_TOO_OLD, the change belongs to another database, or to this database before it was
                restored from a backup.
        """
        if sequence and self._commit_times.get(sequence) != commit_time:
            raise OutOfRange(
                "CURSOR_TOO_OLD",
                english("the cursor is not of this database; begin again without one"),
                metadata={"newest": str(self.sequence)},
            )

    def changes_after(self, sequence: int) -> list[tuple[int, Revision]]:
        """Return what has changed after a sequence, in order. Each revision is in its current state."""
        first = bisect_right(self._sequences, sequence)
        changes = zip(self._sequences[first:], self._changed[first:], strict=True)
        # A revision that has changed again is listed only with its last sequence.
        return [(at, revision) for at, revision in changes if self._last[_key(revision)] == at]

    async def wait_beyond(self, sequence: int, seconds: float) -> None:
        """Wait until the cache has a change after a sequence, but at most some seconds."""
        try:
            async with asyncio.timeout(seconds), self._refreshed:
                await self._refreshed.wait_for(lambda: self.sequence > sequence)
        except TimeoutError:
            return

    def _apply(self, changes: Changes) -> None:
        for at, revision in changes.revisions:
            self._sequences.append(at)
            self._changed.append(revision)
            self._last[_key(revision)] = at
        self._commit_times |= changes.commit_times
        self._life_of |= changes.lives
        for at, life in sorted(changes.lives.items()):
            self.lives[life] = at
        self._book = self._book.with_revisions(revision for _, revision in changes.revisions)
        if self._is_province and self.nation_as_of is None and self._book.series_of(NATION):
            self.nation_as_of = UNKNOWN_EXTENT
        self.sequence = changes.sequence


def _key(revision: Revision) -> RevisionKey:
    return revision.region, revision.policy_id, revision.revision
