"""Results as they are stored, free of wire and storage. Instants and spans are microseconds.

Enumerations are the contract's numbers (`hutong.type.v1.Outcome` and the like): one set of words everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hutong.results.v1 import result_pb2
from hutong.type.v1 import outcome_pb2

from services.domain.instant import MINUTE, Instant, Span

if TYPE_CHECKING:
    Outcome: TypeAlias = outcome_pb2.Outcome.ValueType
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

FUTURE_TOLERANCE: Span = 5 * MINUTE
"""How far a time may lie ahead of the server's clock: clocks differ, but results of tomorrow do not exist."""

RECALLED_OUTCOME = 0
"""What a recalled report's key says: no upload may follow it, as the result of a sampling record would."""

ReportName = tuple[str, str]
"""Laboratory and report number."""


class NewResult(NamedTuple):
    """One person's result, validated and ready to be stored. It knows the person by hash and masks alone.

    `key_row` and `result_row` are in the engine's own form (`records.row_format`).
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


@dataclass(frozen=True, slots=True)
class ReportKey:
    """What is known of a report by its name alone."""

    subject_key: bytes
    reference_time: Instant
    revision: int
    outcome: Outcome
    content_hash: bytes
    sampling_hash: bytes | None = None


class StoredResult(NamedTuple):
    """One revision of one person's result as stored."""

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
    upload_time: Instant
    national_receive_time: Instant | None
    source_node: str
