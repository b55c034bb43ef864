"""What nodes pass on to one another, free of wire and storage. Persons are keyed hashes, nothing else."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise, repeat
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from services.domain.instant import Instant, Span
from services.results.documents.model import DocumentLink
from services.results.labs.model import Lab
from services.results.missing_reports.model import MissingReport
from services.results.records.model import ACTIVE, StoredResult

if TYPE_CHECKING:
    from services.results.records.model import Method, Outcome, Specimen

MAX_CHANGES = 3_000
"""Persons and changes in one batch: as many as one transaction takes in. With the longest texts so many have over
4 MiB: senders close a batch by its bytes as well."""


class Replica(NamedTuple):
    """One revision of a result with what its receiver needs besides to store it as its source_node did.

    Hashes are empty where they were not told.
    """

    result: StoredResult
    key_version: int
    content_hash: bytes
    sampling_hash: bytes


class SharedColumns(NamedTuple):
    """What the persons of a tube have in common, in the order in which stores and nodes name it."""

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

    @property
    def reference_time(self) -> Instant:
        """The report time, for PENDING the sampling time."""
        return self.sample_time if self.report_time is None else self.report_time


class ReplicaTubes(NamedTuple):
    """First revisions of one commit that still count, by tube: nearly all there is to replicate, and so in columns.

    `sizes` are the persons of each tube; what is told of persons goes on from tube to tube.
    """

    lab: str
    key_version: int
    upload_time: Instant
    source_node: str
    tubes: Sequence[SharedColumns]
    sizes: Sequence[int]
    subject_keys: Sequence[bytes]
    report_numbers: Sequence[str]
    content_hashes: Sequence[bytes]

    def by_person(self) -> Iterator[SharedColumns]:
        """What each person's tube has in common, person by person."""
        return chain.from_iterable(map(repeat, self.tubes, self.sizes))

    def part(self, start: int, end: int) -> ReplicaTubes:
        """The persons from one position up to another, with what is theirs of the tubes."""
        if end - start == len(self.report_numbers):
            return self
        ends = list(accumulate(self.sizes))
        first, last = bisect_right(ends, start), bisect_left(ends, end)
        edges = [start, *ends[first:last], end]
        return self._replace(
            tubes=self.tubes[first : last + 1],
            sizes=[after - before for before, after in pairwise(edges)],
            subject_keys=self.subject_keys[start:end],
            report_numbers=self.report_numbers[start:end],
            content_hashes=self.content_hashes[start:end],
        )

    def reference_times(self) -> Iterator[Instant]:
        """When each tube is filed."""
        return (tube.reference_time for tube in self.tubes)

    def report_times(self) -> list[Instant]:
        """When each person's report was issued; of sampling records there is none."""
        return [tube.report_time for tube in self.by_person() if tube.report_time is not None]

    def replicas(self) -> Iterator[Replica]:
        """The same as results each by itself."""
        persons = zip(self.by_person(), self.subject_keys, self.report_numbers, self.content_hashes, strict=True)
        for tube, subject_key, report_number, content_hash in persons:
            result = StoredResult(
                subject_key,
                tube.reference_time,
                self.lab,
                report_number,
                1,
                ACTIVE,
                "",
                "",
                *tube,
                self.upload_time,
                None,
                self.source_node,
            )
            yield Replica(result, self.key_version, content_hash, b"")


Change: TypeAlias = Replica | DocumentLink | Lab | MissingReport
"""One change as it crosses: a link has no masks and no reasons, a laboratory its whole history."""


class WriterPosition(NamedTuple):
    """How many of a writer's commits are meant, and when the last of them was made."""

    writer: int
    offset: int
    commit_time: Instant | None


class Node(NamedTuple):
    """A node as the nation knows it. `as_of_time` is by the node's clock, `contact_time` by the nation's."""

    region: str
    as_of_time: Instant | None
    contact_time: Instant
    backlog: int
    clock_skew: Span
    conflict_count: int


class NodeLog(NamedTuple):
    """A node's change log: another when it begins anew."""

    node: str
    log_id: str


class NotificationPosition(NamedTuple):
    """How many notifications to a node are dealt with, and when the last of them was committed; None for none."""

    number: int
    commit_time: Instant | None
