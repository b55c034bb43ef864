"""What the Results service speaks of, free of wire and storage. Instants and spans are microseconds.

Enumerations are the contract's numbers (`hutong.type.v1.Outcome` and the like): one set of words everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hutong.results.v1 import lab_pb2, result_pb2
from hutong.type.v1 import outcome_pb2

from services.domain.errors import Violation
from services.domain.instant import Instant

if TYPE_CHECKING:
    Outcome: TypeAlias = outcome_pb2.Outcome.ValueType
    Standing: TypeAlias = lab_pb2.LabStanding.ValueType
    State: TypeAlias = result_pb2.ResultState.ValueType
    Specimen: TypeAlias = result_pb2.Specimen.ValueType
    Method: TypeAlias = result_pb2.Method.ValueType

PENDING = outcome_pb2.OUTCOME_PENDING
NEGATIVE = outcome_pb2.OUTCOME_NEGATIVE
POSITIVE = outcome_pb2.OUTCOME_POSITIVE
POOL_POSITIVE = outcome_pb2.OUTCOME_POOL_POSITIVE

ACTIVE = result_pb2.RESULT_STATE_ACTIVE
SUPERSEDED = result_pb2.RESULT_STATE_SUPERSEDED
RECALLED = result_pb2.RESULT_STATE_RECALLED

STANDING_UNKNOWN = lab_pb2.LAB_STANDING_UNSPECIFIED
AUTHORIZED = lab_pb2.LAB_STANDING_AUTHORIZED
NOT_AUTHORIZED = frozenset({lab_pb2.LAB_STANDING_SUSPENDED, lab_pb2.LAB_STANDING_REVOKED})
"""Standings under which a report counts for nothing. A laboratory that is not known here is never among them."""
WARNED = lab_pb2.LAB_STANDING_WARNED
MAY_REPORT = frozenset({AUTHORIZED, WARNED})
"""The standings under which a laboratory may issue reports."""


@dataclass(frozen=True, slots=True)
class StandingChange:
    """One entry of a laboratory's history; effective_time None means since ever."""

    standing: Standing
    effective_time: Instant | None
    reason: str
    record_time: Instant


@dataclass(frozen=True, slots=True)
class Lab:
    """A laboratory with its history in the order it was recorded."""

    uscc: str
    display_name: str
    region: str
    contact: str
    authorize_time: Instant | None
    create_time: Instant
    changes: tuple[StandingChange, ...]

    def standing_at(self, instant: Instant) -> Standing:
        """The standing at an instant: of the entry with the greatest effective time up to it, the later recorded.

        A laboratory authorised only from a later instant on is REVOKED before it: it could not issue reports then.
        """
        found: Standing = lab_pb2.LAB_STANDING_REVOKED
        best: Instant | None = None
        for change in self.changes:
            if change.effective_time is None:
                if best is None:
                    found = change.standing
            elif change.effective_time <= instant and (best is None or change.effective_time >= best):
                found, best = change.standing, change.effective_time
        return found


class TubePerson(NamedTuple):
    """One person of a tube as the laboratory wrote it. Nothing that names the person shows in a repr."""

    document_type: int
    number: str
    issuing_country: str
    name: str
    report_number: str

    def __repr__(self) -> str:
        return f"TubePerson(report_number={self.report_number!r})"


@dataclass(frozen=True, slots=True)
class Tube:
    """One tube as the laboratory reported it."""

    tube_code: str
    pool_size: int
    specimen: Specimen
    method: Method
    outcome: Outcome
    sample_region: str
    sample_site: str
    sample_time: Instant | None
    receive_time: Instant | None
    test_time: Instant | None
    report_time: Instant | None
    persons: tuple[TubePerson, ...]

    @property
    def file_time(self) -> Instant:
        """The report time, for PENDING the sampling time."""
        filed = self.sample_time if self.report_time is None else self.report_time
        assert filed is not None
        return filed


class NewResult(NamedTuple):
    """One person's result, judged good and ready to be stored. Knows the person by hash and masks alone.

    `key_row` and `result_row` are the engine's own (`services.results.records.row_format`), with what other fields do not tell it.
    """

    tube_index: int
    person_index: int
    report_number: str
    subject_key: bytes
    file_time: Instant
    outcome: Outcome
    content_hash: bytes
    key_row: Any
    result_row: Any


@dataclass(frozen=True, slots=True)
class Rejection:
    """An item that is not stored; person_index -1 is the whole tube. Indices are those of the batch."""

    tube_index: int
    person_index: int
    violations: tuple[Violation, ...]
    retryable: bool = False


@dataclass(slots=True)
class UploadPosition:
    """Whose upload it is, and whether its reports have been new so far: then claims go in without asking first."""

    lab: str
    upload_id: str
    origin: str
    reports_are_new: bool = True


@dataclass(frozen=True, slots=True)
class JudgedBatch:
    """A batch after judgement, before storage.

    Attributes:
        offset: the index of its first tube in the upload.
        person_counts: how many persons each of its tubes has.
        results: what may be stored.
        rejections: what may not, with all faults.
        digest: the keyed hash of its tubes, under which it is known from then on; empty when nobody is to know it.
        known_tubes: those of which every person is stored already; they were not judged again.
        known_horizon: the horizon of retention under which that is so.
    """

    offset: int
    person_counts: Sequence[int]
    results: Sequence[NewResult]
    rejections: Sequence[Rejection]
    digest: bytes = b""
    known_tubes: Sequence[int] = ()
    known_horizon: Instant | None = None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What became of a batch. Counts are persons."""

    committed_offset: int
    accepted_count: int
    duplicate_count: int
    rejected_count: int
    rejections: Sequence[Rejection]


@dataclass(frozen=True, slots=True)
class Upload:
    """How far an upload has come."""

    lab: str
    upload_id: str
    committed_offset: int
    accepted_count: int
    duplicate_count: int
    rejected_count: int
    create_time: Instant
    update_time: Instant


@dataclass(frozen=True, slots=True)
class ReportKey:
    """What is known of a report by its name alone."""

    subject_key: bytes
    file_time: Instant
    revision: int
    outcome: Outcome
    content_hash: bytes
    sampling_hash: bytes | None = None


class StoredResult(NamedTuple):
    """One revision of one person's result as stored."""

    subject_key: bytes
    file_time: Instant
    lab: str
    report_number: str
    revision: int
    state: State
    masked_name: str
    masked_number: str
    tube_code: str
    pool_size: int
    specimen: Specimen
    method: Method
    outcome: Outcome
    sample_region: str
    sample_site: str
    sample_time: Instant
    receive_time: Instant | None
    test_time: Instant | None
    report_time: Instant | None
    upload_time: Instant
    nationwide_time: Instant | None
    origin: str


@dataclass(frozen=True, slots=True)
class LinkedDocument:
    """One side of a link, known by hash and mask."""

    subject_key: bytes
    type: int
    masked_number: str


@dataclass(frozen=True, slots=True)
class DocumentLink:
    """Two documents of one person; remove_time is None while the link holds."""

    link_id: str
    document: LinkedDocument
    linked_document: LinkedDocument
    reason: str
    create_time: Instant
    remove_time: Instant | None = None
    remove_reason: str = ""


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
            and (self.start_time is None or result.file_time >= self.start_time)
            and (self.end_time is None or result.file_time < self.end_time)
        )


@dataclass(frozen=True, slots=True)
class Correction:
    """What a laboratory puts right in one of its reports; None where it was right."""

    lab: str
    report_number: str
    outcome: Outcome
    sample_time: Instant | None
    new_report_time: Instant | None
    reason: str


@dataclass(frozen=True, slots=True)
class Recall:
    """Which of a laboratory's reports are taken back: filed in [start_time, end_time), with one of the outcomes."""

    lab: str
    start_time: Instant
    end_time: Instant
    outcomes: tuple[int, ...]
    reason: str
