"""What nodes pass on to one another, free of wire and storage. Persons are keyed hashes, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from services.domain.instant import Instant
from services.results.model import ACTIVE, DocumentLink, Lab, StoredResult

if TYPE_CHECKING:
    from services.results.model import Method, Outcome, Specimen, State


class Replica(NamedTuple):
    """One revision of a result with what its receiver needs besides to store it as its origin did.

    Hashes are empty where they were not told.
    """

    result: StoredResult
    key_version: int
    content_hash: bytes
    sampling_hash: bytes


class SharedColumns(NamedTuple):
    """What first revisions have in common that one commit stored out of one tube."""

    lab: str
    key_version: int
    file_time: Instant
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
    origin: str

    def result_of(
        self,
        subject_key: bytes,
        report_number: str,
        revision: int,
        state: State,
        nationwide_time: Instant | None = None,
    ) -> StoredResult:
        """One person's result with these columns, without masks."""
        return StoredResult(
            subject_key,
            self.file_time,
            self.lab,
            report_number,
            revision,
            state,
            "",
            "",
            self.tube_code,
            self.pool_size,
            self.specimen,
            self.method,
            self.outcome,
            self.sample_region,
            self.sample_site,
            self.sample_time,
            self.receive_time,
            self.test_time,
            self.report_time,
            self.upload_time,
            nationwide_time,
            self.origin,
        )


class ReplicaPerson(NamedTuple):
    """One person of a replicated tube."""

    subject_key: bytes
    report_number: str
    content_hash: bytes


class ReplicaTube(NamedTuple):
    """First revisions that still count, by tube: nearly all there is to replicate, and so kept small."""

    shared: SharedColumns
    persons: list[ReplicaPerson]

    def replicas(self) -> Iterator[Replica]:
        """The same as results each by itself."""
        for subject_key, report_number, content_hash in self.persons:
            result = self.shared.result_of(subject_key, report_number, 1, ACTIVE)
            yield Replica(result, self.shared.key_version, content_hash, b"")


class Reminder(NamedTuple):
    """A report that its holder has shown and that has no record: its laboratory is to upload it."""

    lab: str
    report_number: str
    create_time: Instant
    raised_by: str
    """The region of the node where it was raised."""


Change: TypeAlias = Replica | DocumentLink | Lab | Reminder
"""One change as it crosses: a link has no masks and no reasons, a laboratory its whole history."""


class WriterPosition(NamedTuple):
    """How many of a writer's commits are meant, and when the last of them was made."""

    writer: int
    offset: int
    commit_time: Instant | None
