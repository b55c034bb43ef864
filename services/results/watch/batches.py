"""What is read of the change log at once: commits or parts of them, with the results as they stand."""

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

_Piece = tuple[Entry, int, int]
"""Of an entry's reports those from one index to another."""


@dataclass(frozen=True, slots=True)
class Part:
    """Reports of one commit in their order, all of them or some.

    Attributes:
        entry: the commit.
        start: the index in the entry's reports of the first.
        results: for each report from there on its revision as it stands, with its laboratory's standing at its time;
            None for one that retention has removed, and for whatever an entry of another kind names.
    """

    entry: Entry
    start: int
    results: Sequence[tuple[StoredResult, Standing] | None]

    @property
    def end(self) -> int:
        """The index in the entry's reports after the last."""
        return self.start + len(self.results)

    @property
    def place(self) -> Position:
        """Where a cursor stands with the entry's writer after this."""
        return self.place_at(self.end)

    def place_at(self, index: int) -> Position:
        """Where a cursor stands with the entry's writer before the report of an index."""
        ended = index >= len(self.entry.reports)
        return Position(self.entry.sequence) if ended else Position(self.entry.sequence - 1, index)

    def after(self, cursor: Cursor) -> Part | None:
        """What of this a cursor has not dealt with; None when it has with all."""
        if cursor.get(self.entry.writer_id, BEGINNING) >= self.place:
            return None
        dealt = self.entry.dealt_with(cursor)
        if dealt <= self.start:
            return self
        return Part(self.entry, dealt, self.results[dealt - self.start :]) if dealt < self.end else None

    def up_to(self, count: int) -> Part:
        """The first so many reports of it."""
        return self if len(self.results) <= count else Part(self.entry, self.start, self.results[:count])


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """What was read of the change log at once, and whether that was all there was."""

    parts: list[Part]
    is_complete: bool


def read_batch(connection: Connection, labs: LabCache, cursor: Cursor, now: Instant, limit: int) -> ChangeBatch:
    """What was committed after a cursor, up to `limit` results. OutOfRange as `read_log`."""
    page = read_log(connection, cursor, limit)
    pieces = list(_pieces(page.entries, cursor, limit))
    found = _find_results(connection, labs, pieces, now)
    parts = [
        Part(entry, start, [found.get((entry.lab, *report)) for report in entry.reports[start:end]])
        for entry, start, end in pieces
    ]
    return ChangeBatch(parts, page.is_complete and all(end == len(entry.reports) for entry, _, end in pieces))


def _find_results(
    connection: Connection, labs: LabCache, pieces: Sequence[_Piece], now: Instant
) -> dict[tuple[str, str, int], tuple[StoredResult, Standing]]:
    """The results that parts of entries name, each with its laboratory's standing."""
    wanted: dict[str, list[tuple[str, int]]] = {}
    for entry, start, end in pieces:
        if entry.kind is ChangeKind.RESULTS:
            wanted.setdefault(entry.lab, []).extend(entry.reports[start:end])
    labs.refresh(connection, wanted, now)
    return {
        (lab, found.report_number, found.revision): (found, labs.standing_at(lab, found.reference_time))
        for lab, reports in wanted.items()
        for found in find_revisions(connection, lab, reports)
    }


def _pieces(entries: Sequence[Entry], cursor: Cursor, limit: int) -> Iterator[_Piece]:
    """What a cursor has not dealt with of entries that come after it, up to `limit` reports."""
    room = limit
    for entry in entries:
        start = entry.dealt_with(cursor)
        end = min(start + room, len(entry.reports))
        yield entry, start, end
        room -= end - start
