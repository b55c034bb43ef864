"""The book of policies in the memory of this process: kept up to date, and replaced as a whole.

Questions are answered from memory. A publication of this process is in the cache before it is acknowledged. Those of
other processes on the same database are found by polling for the newest sequence.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right

import structlog
from sqlalchemy import Connection

from services.domain.errors import HutongError, OutOfRange
from services.domain.instant import Instant
from services.policy.changes import Changes, read_changes
from services.policy.model import Revision
from services.policy.rules.resolve import PolicyBook
from services.policy.store import PolicyStore
from services.runtime.clock import Clock

_log = structlog.get_logger(__name__)

RevisionKey = tuple[str, str, int]


class PolicyBookCache:
    """The newest book and what led to it.

    Attributes:
        book: everything published, as far as it is known.
        sequence: the last change in it.
        as_of: everything committed here up to this instant is in it; 0 before it was read.
        nation_as_of: everything the nation published up to this instant, by its clock, is in it; None at the nation,
            and at a province that never heard of it.
    """

    def __init__(self, store: PolicyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        # Every change in order, and for each revision the sequence of its last one: watchers get no earlier one.
        self._sequences: list[int] = []
        self._changed: list[Revision] = []
        self._last: dict[RevisionKey, int] = {}
        self._commit_times: dict[int, Instant] = {}
        self._refreshed = asyncio.Condition()
        self._refreshing = asyncio.Lock()
        self.book = PolicyBook()
        self.sequence = 0
        self.as_of: Instant = 0
        self.nation_as_of: Instant | None = None

    async def open(self) -> None:
        """Read everything. A database that is unavailable is waited for in the background."""
        try:
            await self.refresh()
        except HutongError:
            _log.warning("policies not read yet")

    async def poll(self, seconds: float) -> None:
        """Look for publications of other processes again and again, until cancelled. A background job."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except HutongError as error:
                # as_of stays behind, and says so in every answer.
                _log.debug("policies not refreshed", reason=error.reason)

    async def refresh(self, nation_as_of: Instant | None = None) -> None:
        """Take in everything committed before this call; up to `nation_as_of` the nation's policies are among it."""
        async with self._refreshing:
            asked = self._clock.now()
            if self.as_of == 0 or await self._store.newest_sequence() != self.sequence:
                changes = await self._store.read_changes(self.sequence)
                if changes.revisions:
                    self._apply(changes)
            self.as_of = asked
            if nation_as_of is not None:
                self.nation_as_of = nation_as_of
        async with self._refreshed:
            self._refreshed.notify_all()

    def read_book(self, connection: Connection) -> PolicyBook:
        """The book as a transaction sees it: what is committed and not in the cache yet is read."""
        # The sequence before the book: what is in both is the same, and the cache may be refreshed meanwhile.
        changes = read_changes(connection, self.sequence)
        return self._with_changes(changes)

    def _with_changes(self, changes: Changes) -> PolicyBook:
        """The book as it is after changes that are not in the cache yet."""
        if not changes.revisions:
            return self.book
        return self.book.with_revisions(revision for _, revision in changes.revisions)

    def commit_time(self, sequence: int) -> Instant:
        """When a change was committed: 0 of sequence 0, which is before the first."""
        return self._commit_times[sequence] if sequence else 0

    def check_change(self, sequence: int, commit_time: Instant) -> None:
        """Refuse a change that is not among these, whatever stands in its place.

        Raises:
            OutOfRange: CURSOR_TOO_OLD, it is another database's, or of one that has since been restored from a backup.
        """
        if sequence and self._commit_times.get(sequence) != commit_time:
            raise OutOfRange(
                "CURSOR_TOO_OLD",
                "the cursor is not of this database; begin again without one",
                metadata={"newest": str(self.sequence)},
            )

    def changes_after(self, sequence: int) -> list[tuple[int, Revision]]:
        """What changed after a sequence, in order, each revision as it stands now."""
        first = bisect_right(self._sequences, sequence)
        changes = zip(self._sequences[first:], self._changed[first:], strict=True)
        # What has changed again since is listed under its later sequence.
        return [(at, revision) for at, revision in changes if self._last[_key(revision)] == at]

    async def wait_beyond(self, sequence: int, seconds: float) -> None:
        """Return when something after a sequence is in the cache, or the time is over."""
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
        self.book = self.book.with_revisions(revision for _, revision in changes.revisions)
        self.sequence = changes.sequence


def _key(revision: Revision) -> RevisionKey:
    return revision.region, revision.policy_id, revision.revision
