"""What look-ups and listings ask and answer, free of wire and storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hutong.results.v1.lookup_pb2 import DataSource

from services.domain.instant import Instant
from services.results.records.model import ACTIVE, RECALLED, ReportName, StoredResult

if TYPE_CHECKING:
    from services.results.labs.model import Standing


@dataclass(frozen=True, slots=True)
class ResultQuery:
    """Which results a listing wants; empty fields do not narrow. Times are of the report (sampling for PENDING)."""

    outcomes: tuple[int, ...] = ()
    states: tuple[int, ...] = (ACTIVE, RECALLED)
    start_time: Instant | None = None
    end_time: Instant | None = None

    def takes(self, result: StoredResult) -> bool:
        """Whether it wants this one."""
        return (
            result.state in self.states
            and (not self.outcomes or result.outcome in self.outcomes)
            and (self.start_time is None or result.reference_time >= self.start_time)
            and (self.end_time is None or result.reference_time < self.end_time)
        )


LabPosition = tuple[str, int]
"""Where a listing by laboratory stopped: report number and revision, 0 when it is beyond all of the report's."""

SubjectPosition = tuple[int, str, str, int]
"""Where a listing by subject stopped: reference time, laboratory, report number and revision."""


@dataclass(frozen=True, slots=True)
class LocalMatches:
    """What was found, with the laboratories of all of it.

    Attributes:
        by_subject: for each subject, in order, the newest revisions of its results, newest report first.
        by_report: the newest revision of each named report that is stored.
        subjects: for each subject, in order, the keys of all of its documents.
        standing_at: the standing of any laboratory of these at an instant; unknown for one that is not registered.
        region_of: the region of any laboratory of these; empty for one that is not registered.
        horizon: the instant before which nothing is kept, when a named report was not found.
    """

    by_subject: Sequence[Sequence[StoredResult]]
    by_report: dict[ReportName, StoredResult]
    subjects: Sequence[Sequence[bytes]]
    standing_at: Callable[[str, Instant], Standing]
    region_of: Callable[[str], str]
    horizon: Instant | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Results with the standing of their laboratories.

    Attributes:
        horizon: of a page the instant before which nothing is kept.
        next_position: of a laboratory's page where the next one begins; None at the end.
    """

    results: Sequence[StoredResult]
    standing_at: Callable[[str, Instant], Standing]
    horizon: Instant | None = None
    next_position: LabPosition | None = None


class SubjectQuestion(NamedTuple):
    """Whose results, which claimed reports, and what the caller has seen elsewhere."""

    subject_key: bytes
    limit: int
    claims: tuple[tuple[ReportName, Instant | None], ...] = ()
    token: str = ""


class RemoteMatch(NamedTuple):
    """A result as another node tells it, with its laboratory's standing as known there."""

    result: StoredResult
    standing: Standing


class RemoteClaim(NamedTuple):
    """What another node knows of a claimed report; `found` None when it has no record of it."""

    found: RemoteMatch | None
    standing: Standing
    region: str


class SubjectAnswer(NamedTuple):
    """What the nation knows: results newest report first, all keys of the person, claims in order, its sources."""

    results: Sequence[RemoteMatch]
    subject_keys: Sequence[bytes]
    claims: Sequence[RemoteClaim]
    sources: Sequence[DataSource]
