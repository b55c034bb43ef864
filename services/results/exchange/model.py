"""What nodes send to each other, as values without messages and storage. Subjects appear only as keyed hashes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise, repeat
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from services.domain.instant import Instant, Span
from services.results.documents.model import DocumentLink
from services.results.labs.model import Lab
from services.results.missing_reports.model import MissingReport
from services.results.records.model import ACTIVE, StoredResult

if TYPE_CHECKING:
    from hutong.results.v1.lookup_pb2 import SourceState

    from services.results.records.model import Method, Outcome, Specimen

MAX_CHANGES = 3_000
"""The most persons and changes in one batch, which one transaction stores. With the longest texts, a batch of this size
would exceed 4 MiB, the limit of a gRPC message. Senders therefore also limit a batch by bytes."""


_Value = TypeVar("_Value")


class Replica(NamedTuple):
    """One revision of a result, with what the receiver needs to store it as its source node did.

    A hash that the sender left out is empty. While the pepper rotates, `other_key` is the subject's key under the other
    key version; it is empty if the key is not known.
    """

    result: StoredResult
    key_version: int
    content_hash: bytes
    sampling_hash: bytes
    other_key: bytes = b""


class SharedColumns(NamedTuple):
    """Columns that the persons of a tube share, in the order of stores and messages."""

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
    item: str

    @property
    def reference_time(self) -> Instant:
        """The report time; for a sampling record (PENDING) the sample time."""
        return self.sample_time if self.report_time is None else self.report_time


class ReplicaTubes(NamedTuple):
    """First revisions of one commit that are still active, in columns by tube. Nearly all changes are first revisions.

    `sizes` gives the number of persons in each tube. The columns of persons contain the persons of all tubes in order.
    The column `other_keys` is what the field `other_key` is in `Replica`. The whole column may be left out.
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
    name_hashes: Sequence[bytes]
    other_keys: Sequence[bytes] = ()

    def by_person(self) -> Iterator[SharedColumns]:
        """Return the shared columns of each person's tube, person by person."""
        return chain.from_iterable(map(repeat, self.tubes, self.sizes))

    def spread(self, values: Iterable[_Value]) -> list[_Value]:
        """Return a column of persons in which each person has the value of the tube, given one value a tube."""
        return list(chain.from_iterable(map(repeat, values, self.sizes)))

    def part(self, start: int, end: int) -> ReplicaTubes:
        """Return the persons from index `start` up to `end`, with their tubes."""
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
            name_hashes=self.name_hashes[start:end],
            other_keys=self.other_keys[start:end],
        )

    def reference_times(self) -> Iterator[Instant]:
        """Return the reference time of each tube."""
        return (tube.reference_time for tube in self.tubes)

    def report_times(self) -> list[Instant]:
        """Return the report time of each person's report. Sampling records have none and are left out."""
        return [tube.report_time for tube in self.by_person() if tube.report_time is not None]

    def replicas(self) -> Iterator[Replica]:
        """Return the same content as single results."""
        columns = (self.subject_keys, self.report_numbers, self.content_hashes, self.name_hashes)
        others = self.other_keys or repeat(b"", len(self.report_numbers))
        persons = zip(self.by_person(), *columns, strict=True)
        for (tube, subject_key, report_number, content_hash, name_hash), other_key in zip(persons, others, strict=True):
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
                name_hash,
            )
            yield Replica(result, self.key_version, content_hash, b"", other_key)


class AdverseSubject(NamedTuple):
    """A subject with an adverse result, to which the receiving node has to subscribe."""

    subject_key: bytes


Change: TypeAlias = Replica | DocumentLink | Lab | MissingReport | AdverseSubject
"""One change that is sent. A link has no masks and reasons. A laboratory has its whole history."""


class WriterPosition(NamedTuple):
    """A position in a writer's commits.

    It says how many commits precede the position, and when the last of them was made (None if there is none).
    """

    writer: int
    offset: int
    commit_time: Instant | None


class NodeFigures(NamedTuple):
    """What a node has counted about a node that replicates to it. The attributes are those of `Node`."""

    clock_skew: Span
    conflict_count: int
    not_its_own_count: int
    second_registration_count: int


class Node(NamedTuple):
    """A node as the node above it knows it.

    Attributes:
        as_of_time: everything that the node acknowledged before this instant of its clock is here. None before its
            first checkpoint.
        contact_time: when the node last sent something, by the clock of the node above.
        backlog: the number of commits that the node has not sent yet.
        clock_skew: how far the node's clock is ahead.
        conflict_count: reports that the node sent with another content than is stored here.
        not_its_own_count: changes of the node that were set aside, because another node is the laboratory's home.
        second_registration_count: laboratories without a known home that another node had registered before.
        retire_time: when an operator retired the node. None if it is not retired.
        retire_reason: why the node was retired.
        retire_actor: the name of the operator.
    """

    region: str
    as_of_time: Instant | None
    contact_time: Instant
    backlog: int
    clock_skew: Span
    conflict_count: int
    not_its_own_count: int = 0
    second_registration_count: int = 0
    retire_time: Instant | None = None
    retire_reason: str = ""
    retire_actor: str | None = None

    @property
    def figures(self) -> NodeFigures:
        """The figures that this node has counted about the node."""
        return NodeFigures(self.clock_skew, self.conflict_count, self.not_its_own_count, self.second_registration_count)


class NodeState(NamedTuple):
    """A node below this one, at any depth.

    Attributes:
        state: OK, UNAVAILABLE or RETIRED.
        as_of_time: the instant up to which everything acknowledged at the node is known here, at most now.
        contact_time: when the node last sent something to the node above it, by the clock of that node above. None if
            that is not known.
        backlog: the number of commits that the node had not sent at the contact time.
        figures: what the node above it has counted about it. None if that is not known.
        path: the regions of the nodes between this node and that node, the nearest to this node first.
        retire_time: when an operator of the node above it retired it. None if it is not retired or that is not known.
        retire_reason: why it was retired.
    """

    region: str
    state: SourceState.ValueType
    as_of_time: Instant | None
    contact_time: Instant | None
    backlog: int
    figures: NodeFigures | None = None
    path: tuple[str, ...] = ()
    retire_time: Instant | None = None
    retire_reason: str = ""


class NodeLog(NamedTuple):
    """A node's change log. It gets a new `log_id` when the node has to send everything again."""

    node: str
    log_id: str


class NotificationPosition(NamedTuple):
    """How many notifications a node has processed, and when the last of them was committed (None if there is none)."""

    number: int
    commit_time: Instant | None


class SubscriptionPosition(NamedTuple):
    """The notification that a subscription used up at the node above, in a life of that node's database."""

    number: int
    commit_time: Instant
    life: str


class StoredPosition(NamedTuple):
    """The newest position of subscriptions in one life, as this node has stored it.

    `stored_count` grows with each answer of the life that is stored, also if the answer has a smaller number.
    """

    position: SubscriptionPosition
    stored_count: int
