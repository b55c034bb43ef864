"""The store that watchers read the change log from."""

from __future__ import annotations

from services.domain.instant import Instant
from services.results.changelog.log import newest_cursor, oldest_cursor
from services.results.changelog.model import Cursor
from services.results.labs.cache import LabCache
from services.results.watch.batches import ChangeBatch, read_batch
from services.storage.engine import Database


class WatchStore:
    """Reads the change log from the database, with the results that its entries name."""

    def __init__(self, database: Database, labs: LabCache) -> None:
        self._database = database
        self._labs = labs

    async def oldest_cursor(self) -> Cursor:
        """Return the oldest cursor after which every entry is kept."""
        return await self._database.read(oldest_cursor)

    async def newest_cursor(self) -> Cursor:
        """Return the cursor after everything that is committed."""
        return await self._database.read(newest_cursor)

    async def read_changes(self, cursor: Cursor, now: Instant, limit: int) -> ChangeBatch:
        """Return the changes after a cursor, up to `limit` results. `now` is the time of the read, for standings.

        If one change was committed before another began, it comes first.

        Raises:
            OutOfRange: CURSOR_TOO_OLD, the cursor is too old or of another log.
        """
        return await self._database.read(read_batch, self._labs, cursor, now, limit)
