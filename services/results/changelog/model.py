"""Entries of the change log, and positions in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from services.domain.instant import Instant


class ChangeKind(IntEnum):
    """What an entry of the change log lists. Watchers of results receive only RESULTS.

    MISSING_REPORT_ANSWERS are answers of laboratories to missing reports. LISTED_MISSING_REPORTS are missing reports
    that the homes of their laboratories list, for the nodes above.
    ADVERSE_SUBJECTS occurs only in the nation's notifications. An entry of BARRIER lists nothing. Its position comes
    after every entry that was committed before it. It may name positions of nodes below.
    """

    RESULTS = 0
    LINKS = 1
    LABS = 2
    MISSING_REPORTS = 3
    ADVERSE_SUBJECTS = 4
    BARRIER = 5
    MISSING_REPORT_ANSWERS = 6
    LISTED_MISSING_REPORTS = 7


OF_MISSING_REPORTS = frozenset(
    {ChangeKind.MISSING_REPORTS, ChangeKind.MISSING_REPORT_ANSWERS, ChangeKind.LISTED_MISSING_REPORTS}
)
"""Kinds of entries that list the numbers of missing reports."""


class Position(NamedTuple):
    """A reader's position with one writer. `sequence` is the sequence of the last entry that was processed whole.

    `processed` counts the reports of the next entry that were processed.
    """

    sequence: int
    processed: int = 0


BEGINNING = Position(0)

Cursor = dict[int, Position]
"""A reader's position with each writer, by the writer's id. A writer without a position stands at BEGINNING."""


class PositionBelow(NamedTuple):
    """A position of a node below this one.

    With the entry that names this position, the log has everything of that node up to the position.
    """

    node: str
    writer: int
    life: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: the reports of a laboratory and the revisions they got, in the order of the upload.

    If `kind` is not RESULTS, `reports` lists the changed links, laboratories or missing reports, with revision 0.
    `life` is the life of the database in which the entry was made. `other_keys` has the subject key under the other key
    version for each report with such a key, while the pepper rotates and the node above does not have these keys.
    `positions_below` are positions of nodes below this one. With this entry, the node above has everything up to these
    positions.
    """

    writer_id: int
    sequence: int
    commit_time: Instant
    lab: str
    reports: Sequence[tuple[str, int]]
    kind: ChangeKind = ChangeKind.RESULTS
    life: str = ""
    other_keys: Mapping[str, bytes] = field(default_factory=dict)
    positions_below: Sequence[PositionBelow] = ()

    def count_processed(self, cursor: Cursor) -> int:
        """Return how many of the entry's reports a reader at `cursor` has processed.

        `cursor` lies before the end of the entry.
        """
        position = cursor.get(self.writer_id, BEGINNING)
        return min(position.processed, len(self.reports)) if position.sequence == self.sequence - 1 else 0


class LogPage(NamedTuple):
    """The entries of one read. `is_complete` says that the log has no further entries."""

    entries: list[Entry]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """What a transaction changed, of one kind and one laboratory.

    Attributes:
        kind: what `names` lists.
        lab: the laboratory of results and missing reports; empty for links and laboratories.
        names: for results the report numbers and the revisions that were written, in the order of the upload; for other
            kinds the ids, codes or report numbers, each with revision 0.
        subject_keys: for results the subject of each name; for a link the subjects of both documents.
        source: the region of the node that sent the change; empty for a change made here.
        is_new: whether the transaction registered the named laboratory.
        adverse_keys: the subjects of the positive results that count.
        maker: for a link the region of the node that made it; empty for this node. For missing reports that are closed,
            the region of the node that raised them.
        other_keys: while the pepper rotates, the key under the other version for each subject whose other key is known.
    """

    kind: ChangeKind
    lab: str
    names: Sequence[tuple[str, int]]
    subject_keys: Sequence[bytes] = ()
    source: str = ""
    is_new: bool = False
    adverse_keys: Collection[bytes] = ()
    maker: str = ""
    other_keys: Mapping[bytes, bytes] = field(default_factory=dict)
