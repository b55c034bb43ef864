"""What nodes pass on to one another, free of wire and storage. Persons are keyed hashes, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from services.domain.instant import Instant
from services.results.model import ACTIVE, DocumentLink, Lab, StoredResult

if TYPE_CHECKING:
    from services.results.model import Method, Outcome, Specimen


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
        of = self.shared
        for person in self.persons:
            result = StoredResult(
                person.subject_key,
                of.file_time,
                of.lab,
                person.report_number,
                1,
                ACTIVE,
                "",
                "",
                of.tube_code,
                of.pool_size,
                of.specimen,
                of.method,
                of.outcome,
                of.sample_region,
                of.sample_site,
                of.sample_time,
                of.receive_time,
                of.test_time,
                of.report_time,
                of.upload_time,
                None,
                of.origin,
            )
            yield Replica(result, of.key_version, person.content_hash, b"")


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
