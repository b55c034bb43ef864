"""Batches of the change log. A batch contains slices of commits, with the results in their present state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from services.domain.instant import Instant
from services.results.changelog.log import read_log
from services.results.changelog.model import BEGINNING, ChangeKind, Cursor, Entry, Position
from services.results.labs.cache import LabCache
from services.results.records.model import StoredResult
from services.results.records.queries import find_revisions

if TYPE_CHECKING:
    from services.results.labs.model import Standing

_Bounds = tuple[Entry, int, int]
"""An entry, the index of its first wanted report, and the index behind its last wanted report."""


@dataclass(frozen=True, slots=True)
class ChangeSlice:
    """Consecutive reports of one commit: all of its reports or a part.

    Attributes:
        entry: the commit's entry.
        start: the index of the first report among the entry's reports.
        results: for each report its listed revision in its present state, with its laboratory's standing at its
            reference time. None for a report that retention has removed, and for the names of entries of other kinds.
    """

    entry: Entry
    start: int
    results: Sequence[tuple[StoredResult, Standing] | None]

    @property
    def end(self) -> int:
        """The index behind the last report."""
        return self.start + len(self.results)

    @property
    def position(self) -> Position:
        """The reader's position with the entry's writer after this slice."""
        return self.position_at(self.end)

    def position_at(self, index: int) -> Position:
        """Return the reader's position with the entry's writer before the report at this index."""
        ended = index >= len(self.entry.reports)
        return Position(self.entry.sequence) if ended else Position(self.entry.sequence - 1, index)

    def after(self, cursor: Cursor) -> ChangeSlice | None:
        """Return the part of this slice that is after a cursor; None if nothing is left."""
        if cursor.get(self.entry.writer_id, BEGINNING) >= self.position:
            return None
        processed = self.entry.count_processed(cursor)
        if processed <= self.start:
            return self
        return (
            ChangeSlice(self.entry, processed, self.results[processed - self.start :]) if processed < self.end else None
        )

    def up_to(self, count: int) -> ChangeSlice:
        """Return the first `count` reports of this slice, or all if there are fewer."""
        return self if len(self.results) <= count else ChangeSlice(self.entry, self.start, self.results[:count])


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """What one read of the change log returned. `is_complete` says that no committed change is left unread."""

    slices: list[ChangeSlice]
    is_complete: bool


def read_batch(connection: Connection, labs: LabCache, cursor: Cursor, now: Instant, limit: int) -> ChangeBatch:
    """Return the changes after a cursor, up to `limit` results. Raises OutOfRange as `read_log` does."""
    page = read_log(connection, cursor, limit)
    bounds = list(_bounds(page.entries, cursor, limit))
    found = _find_results(connection, labs, bounds, now)
    slices = [
        ChangeSlice(entry, start, [found.get((entry.lab, *report)) for report in entry.reports[start:end]])
        for entry, start, end in bounds
    ]
    return ChangeBatch(slices, page.is_complete and all(end == len(entry.reports) for entry, _, end in bounds))


def _find_results(
    connection: Connection, labs: LabCache, bounds: Sequence[_Bounds], now: Instant
) -> dict[tuple[str, str, int], tuple[StoredResult, Standing]]:
    """Return the results that entries name within their bounds, each with its laboratory's standing."""
    wanted: dict[str, list[tuple[str, int]]] = {}
    for entry, start, end in bounds:
        if entry.kind is ChangeKind.RESULTS:
            wanted.setdefault(entry.lab, []).extend(entry.reports[start:end])
    labs.refresh(connection, wanted, now)
    return {
        (lab, found.report_number, found.revision): (found, labs.standing_at(lab, found.reference_time))
        for lab, reports in wanted.items()
        for found in find_revisions(connection, lab, reports)
    }


def _bounds(entries: Sequence[Entry], cursor: Cursor, limit: int) -> Iterator[_Bounds]:
    """Return, for each entry, the bounds of its reports after a cursor.

    All entries together have at most `limit` reports.
    """
    remaining = limit
    for entry in entries:
        start = entry.count_processed(cursor)
        end = min(start + remaining, len(entry.reports))
        yield entry, start, end
        remaining -= end - start
