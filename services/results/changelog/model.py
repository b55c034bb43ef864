"""Entries of the change log, and positions in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from services.domain.instant import Instant


class ChangeKind(IntEnum):
    """What the entries of the log speak of; watchers of results pass over all but the first."""

    RESULTS = 0
    LINKS = 1
    LABS = 2
    MISSING_REPORTS = 3


class Position(NamedTuple):
    """Where a watcher stands with a writer: its last entry that was dealt with, and how many reports of the next."""

    sequence: int
    dealt: int = 0


BEGINNING = Position(0)

Cursor = dict[int, Position]
"""Writer → place; at its beginning with a writer that is missing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: which reports of a laboratory got which revisions, in the order of the upload.

    Of another kind than results, which links, laboratories or reported numbers it changed, with 0 for a revision.
    """

    writer_id: int
    sequence: int
    commit_time: Instant
    lab: str
    reports: Sequence[tuple[str, int]]
    kind: ChangeKind = ChangeKind.RESULTS

    def dealt_with(self, cursor: Cursor) -> int:
        """How many of its reports a cursor that stands before its end has dealt with."""
        place = cursor.get(self.writer_id, BEGINNING)
        return min(place.dealt, len(self.reports)) if place.sequence == self.sequence - 1 else 0


class LogPage(NamedTuple):
    """What was read of the log at once, and whether that was all there was."""

    entries: list[Entry]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """What a transaction changed, of one kind and one laboratory.

    Attributes:
        kind: what `names` names.
        lab: the laboratory of results and missing reports; empty for links and laboratories.
        names: report numbers with the revisions written, in the order of the upload; ids and codes with 0.
        subject_keys: of results the subject of each name; of one link the subjects of both documents.
        source: the region of the node that sent the change; empty for a change made here.
        is_new: whether the transaction registered the laboratory that is named.
    """

    kind: ChangeKind
    lab: str
    names: Sequence[tuple[str, int]]
    subject_keys: Sequence[bytes] = ()
    source: str = ""
    is_new: bool = False
