"""The parts of an upload: tubes, validated batches, rejections, acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from services.domain.errors import Violation
from services.domain.instant import Instant
from services.domain.names import DEFAULT_ITEM
from services.results.records.model import NewResult
from services.runtime.consistency import BEFORE_ANY, LogPosition

if TYPE_CHECKING:
    from services.results.records.model import Method, Outcome, Specimen


class TubePersons(NamedTuple):
    """All persons of a batch as the laboratory wrote them, in columns. The repr shows no identity.

    The persons of a tube come after those of the tube before it.
    """

    document_types: list[int]
    numbers: list[str]
    issuing_countries: list[str]
    names: list[str]
    report_numbers: list[str]

    def __repr__(self) -> str:
        return f"TubePersons({len(self.report_numbers)} persons)"


class Tube(NamedTuple):
    """One tube as the laboratory reported it, without its persons."""

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
    person_count: int
    item: str = DEFAULT_ITEM

    @property
    def reference_time(self) -> Instant:
        """The report time; for a sampling record the sampling time."""
        time = self.sample_time if self.report_time is None else self.report_time
        assert time is not None
        return time


@dataclass(frozen=True, slots=True)
class Rejection:
    """An item that is not stored. Indexes are within the batch. The person_index -1 means the whole tube."""

    tube_index: int
    person_index: int
    violations: tuple[Violation, ...]
    retryable: bool = False


@dataclass(slots=True)
class UploadPosition:
    """The identity of an upload.

    `reports_are_new` says whether all earlier reports of the upload were new. If they were, the next reports are
    claimed by one statement.
    """

    lab: str
    upload_id: str
    source_node: str
    reports_are_new: bool = True


@dataclass(frozen=True, slots=True)
class ValidatedBatch:
    """A batch after validation, before its commit.

    Attributes:
        offset: the index of its first tube in the upload.
        person_counts: how many persons each of its tubes has.
        results: the valid results.
        rejections: the invalid items, with all their faults.
        digest: the keyed hash of its tubes, by which it is recognised later; empty if it is not to be recognised.
        known_tubes: indexes of the tubes that are stored completely and were not validated again.
        known_horizon: the horizon of retention under which the known tubes are stored.
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
    """The outcome of a batch. Counts are of persons.

    `position` is the position of a commit. A reader that has read up to this commit has all stored persons of the
    batch. The position has no meaning in a dry run.
    """

    committed_offset: int
    accepted_count: int
    duplicate_count: int
    rejected_count: int
    rejections: Sequence[Rejection]
    position: LogPosition = BEFORE_ANY


@dataclass(frozen=True, slots=True)
class Upload:
    """The state of an upload. The offset counts tubes. The other numbers count persons."""

    lab: str
    upload_id: str
    committed_offset: int
    accepted_count: int
    duplicate_count: int
    rejected_count: int
    create_time: Instant
    update_time: Instant
