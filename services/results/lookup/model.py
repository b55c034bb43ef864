"""Questions and answers of look-ups and listings, independent of messages and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hutong.results.v1.lookup_pb2 import DataSource

from services.domain.instant import Instant, Span
from services.domain.names import DEFAULT_ITEM
from services.domain.normal_form import normal_form
from services.results.missing_reports.model import LabAnswer
from services.results.records.model import ACTIVE, RECALLED, ReportName, StoredResult

if TYPE_CHECKING:
    from services.results.labs.model import SigningKey, Standing


@dataclass(frozen=True, slots=True)
class ResultQuery:
    """The filter of a listing. Empty fields match everything. Times are reference times, in [start_time, end_time)."""

    outcomes: tuple[int, ...] = ()
    states: tuple[int, ...] = (ACTIVE, RECALLED)
    start_time: Instant | None = None
    end_time: Instant | None = None
    items: tuple[str, ...] = ()

    def takes(self, result: StoredResult) -> bool:
        """Return whether a result matches the filter."""
        return (
            result.state in self.states
            and (not self.outcomes or result.outcome in self.outcomes)
            and (not self.items or result.item in self.items)
            and (self.start_time is None or result.reference_time >= self.start_time)
            and (self.end_time is None or result.reference_time < self.end_time)
        )


LabPosition = tuple[str, int]
"""The end of a page of a laboratory: report number and revision. Revision 0 means that all revisions of the report are
listed."""

SubjectPosition = tuple[int, str, str, int]
"""The end of a page of a subject: reference time, laboratory, report number and revision."""


NamedReport = tuple[str, str]
"""A laboratory's name in normal form, and a report number; the number is empty if the claim states none."""


class ReportClaim(NamedTuple):
    """A report that a holder claims to have. What the holder does not show is empty or None.

    Attributes:
        lab: the code of its laboratory.
        lab_name: the laboratory's name as printed; ignored if `lab` is set.
        with_signing_keys: whether the claim shows a signed report, so that the laboratory's keys are needed.
    """

    lab: str
    report_number: str
    report_time: Instant | None = None
    lab_name: str = ""
    with_signing_keys: bool = False

    @property
    def normal_name(self) -> str:
        """The laboratory's name in normal form; empty if the code is known or no name is stated."""
        return "" if self.lab else normal_form(self.lab_name)


@dataclass(frozen=True, slots=True)
class LocalMatches:
    """What this node's store has for several subjects and reports.

    Attributes:
        by_subject: for each subject, in order, the newest revisions of its results, newest report first.
        by_report: the newest revision of each named report that is stored.
        subjects: for each subject, in order, the keys of all of its documents.
        standing_at: returns a laboratory's standing at an instant; STANDING_UNKNOWN if it is not registered.
        region_of: returns a laboratory's region; empty if it is not registered.
        horizon: the horizon of retention; None if nothing was removed. It may be a second old, unless a named report
            was not found.
        labs_by_name: the codes of the laboratories that bear each claimed name in normal form.
        signing_keys_of: returns a laboratory's signing keys.
        answers: the laboratories' answers to those named reports that are missing.
        age: how old the state of the database may be, if a read replica answered.

    `standing_at`, `region_of` and `signing_keys_of` know only the laboratories of these results and reports.
    """

    by_subject: Sequence[Sequence[StoredResult]]
    by_report: dict[ReportName, StoredResult]
    subjects: Sequence[Sequence[bytes]]
    standing_at: Callable[[str, Instant], Standing]
    region_of: Callable[[str], str]
    horizon: Instant | None = None
    labs_by_name: Mapping[str, Sequence[str]] = field(default_factory=dict)
    signing_keys_of: Callable[[str], Sequence[SigningKey]] = lambda _lab: ()
    answers: Mapping[ReportName, LabAnswer] = field(default_factory=dict)
    age: Span = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """Results, and the standing of their laboratories.

    Attributes:
        results: the results, in the order of the listing.
        standing_at: returns the standing of one of their laboratories at an instant.
        horizon: the horizon of retention. None if nothing was removed, and for an answer that is not a page.
        next_position: the position after which the next page of a laboratory begins; None at the end.
    """

    results: Sequence[StoredResult]
    standing_at: Callable[[str, Instant], Standing]
    horizon: Instant | None = None
    next_position: LabPosition | None = None


class SubjectQuestion(NamedTuple):
    """A question about one subject's results and claimed reports.

    `token` is the caller's consistency token. `items` are the items whose results are wanted. `other_key` is the
    subject's key under the other key version. While the pepper rotates, this node looks up both keys.
    """

    subject_key: bytes
    limit: int
    claims: tuple[ReportClaim, ...] = ()
    token: str = ""
    items: tuple[str, ...] = (DEFAULT_ITEM,)
    other_key: bytes | None = None


class RemoteMatch(NamedTuple):
    """A result that another node returned, with its laboratory's standing there."""

    result: StoredResult
    standing: Standing


class RemoteClaim(NamedTuple):
    """Another node's answer about a claimed report.

    Attributes:
        found: the record; None if that node has none.
        by_lab: if the claim states a laboratory's name, the answer for each laboratory of that name, by code.
        signing_keys: the laboratory's keys, if they were asked for.
        answer: what the laboratory has answered to the missing report.
    """

    found: RemoteMatch | None
    standing: Standing
    region: str
    by_lab: Sequence[tuple[str, RemoteClaim]] = ()
    signing_keys: Sequence[SigningKey] = ()
    answer: LabAnswer | None = None


class SubjectAnswer(NamedTuple):
    """The nation's answer about a subject.

    Attributes:
        results: the subject's results, newest report first.
        subject_keys: the keys of all of its documents.
        claims: the answers about claimed reports, in the order of the question.
        sources: the nation and the nodes that replicate to it, with how complete each is.
    """

    results: Sequence[RemoteMatch]
    subject_keys: Sequence[bytes]
    claims: Sequence[RemoteClaim]
    sources: Sequence[DataSource]
