"""Results as they are stored, independent of messages and tables. Instants and spans are microseconds.

Enumerations are the contract's numbers (`hutong.type.v1.Outcome` and others), so that no second set of names exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hutong.results.v1 import result_pb2
from hutong.type.v1 import outcome_pb2

from services.domain.instant import MINUTE, Instant, Span
from services.domain.names import is_announced

if TYPE_CHECKING:
    Outcome: TypeAlias = outcome_pb2.Outcome.ValueType
    State: TypeAlias = result_pb2.ResultState.ValueType
    Specimen: TypeAlias = result_pb2.Specimen.ValueType
    Method: TypeAlias = result_pb2.Method.ValueType

PENDING = outcome_pb2.OUTCOME_PENDING
NEGATIVE = outcome_pb2.OUTCOME_NEGATIVE
POSITIVE = outcome_pb2.OUTCOME_POSITIVE
POOL_POSITIVE = outcome_pb2.OUTCOME_POOL_POSITIVE

ADVERSE = frozenset({POSITIVE, POOL_POSITIVE})
"""Outcomes that may stand against a person."""

ACTIVE = result_pb2.RESULT_STATE_ACTIVE
SUPERSEDED = result_pb2.RESULT_STATE_SUPERSEDED
RECALLED = result_pb2.RESULT_STATE_RECALLED

FUTURE_TOLERANCE: Span = 5 * MINUTE
"""How far a time may lie ahead of the server's clock. Clocks of laboratories differ by minutes, not by days."""

RECALLED_OUTCOME = 0
"""The outcome in the key of a recalled report. A value other than PENDING keeps uploads from adding a result to the
report."""

ReportName = tuple[str, str]
"""Laboratory and report number."""


def is_adverse(outcome: Outcome, item: str) -> bool:
    """Return whether a result may stand against its subject and is of an item that the nation announces to other nodes.

    The nation does not announce positives of other items. If a policy lists such an item as adverse, Verification asks
    the nation each time.
    """
    return outcome in ADVERSE and is_announced(item)


class KeyedForm(NamedTuple):
    """The parts of a new result that depend on the key version."""

    subject_key: bytes
    content_hash: bytes
    result_row: Any


class NewResult(NamedTuple):
    """The result of one person, validated and ready to be stored. Only hashes and masks identify the person.

    `records.row_format` makes `key_row` and `result_row` in the form of the database engine. `other` has the parts
    under the other key version; None unless the pepper rotates.
    """

    tube_index: int
    person_index: int
    report_number: str
    subject_key: bytes
    reference_time: Instant
    outcome: Outcome
    content_hash: bytes
    key_row: Any
    result_row: Any
    item: str
    other: KeyedForm | None = None

    def as_stored_under(self, subject_key: bytes) -> NewResult:
        """Return the result under the key version of a stored key.

        If the stored key is of another subject, return the result unchanged.
        """
        other = self.other
        if other is None or other.subject_key != subject_key:
            return self
        return self._replace(
            subject_key=other.subject_key,
            content_hash=other.content_hash,
            result_row=other.result_row,
            other=KeyedForm(self.subject_key, self.content_hash, self.result_row),
        )


@dataclass(frozen=True, slots=True)
class ReportKey:
    """A row of `report_keys` without the report's name: its subject and its newest revision."""

    subject_key: bytes
    reference_time: Instant
    revision: int
    outcome: Outcome
    content_hash: bytes
    sampling_hash: bytes | None = None


class StoredResult(NamedTuple):
    """One stored revision of one person's result. `name_hash` is empty if the result has no name."""

    subject_key: bytes
    reference_time: Instant
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
    item: str
    upload_time: Instant
    national_receive_time: Instant | None
    source_node: str
    name_hash: bytes = b""
