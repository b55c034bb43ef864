"""What an upload consists of: tubes, validated batches, rejections, acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from services.domain.errors import Violation
from services.domain.instant import Instant
from services.results.records.model import NewResult

if TYPE_CHECKING:
    from services.results.records.model import Method, Outcome, Specimen


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
    def reference_time(self) -> Instant:
        """The report time, for PENDING the sampling time."""
        filed = self.sample_time if self.report_time is None else self.report_time
        assert filed is not None
        return filed


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
    source_node: str
    reports_are_new: bool = True


@dataclass(frozen=True, slots=True)
class ValidatedBatch:
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
