"""Converts the inputs of a decision from messages: records, evidence, claims and sources."""

from __future__ import annotations

from hutong.results.v1 import lookup_pb2, missing_report_pb2, next_step_pb2, result_pb2
from hutong.verification.v1 import decision_pb2, evidence_pb2

from services.domain.instant import from_timestamp
from services.domain.names import DEFAULT_ITEM, parse_item
from services.verification.decision.evidence import canonical_report_number
from services.verification.decision.model import Claim, Evidence, LabAnswer, Record, SourceStatus


def record_from_proto(result: result_pb2.TestResult) -> Record:
    """Return a record."""
    has = result.HasField
    return Record(
        result.name,
        result.revision,
        result.state,
        result.lab,
        result.report_number,
        result.outcome,
        from_timestamp(result.sample_time),
        from_timestamp(result.receive_time) if has("receive_time") else None,
        from_timestamp(result.test_time) if has("test_time") else None,
        from_timestamp(result.report_time) if has("report_time") else None,
        result.lab_standing,
        _item(result.item),
    )


def evidence_from_proto(evidence: evidence_pb2.PresentedEvidence) -> Evidence:
    """Return evidence as it was presented, with its report number in canonical form."""
    has = evidence.HasField
    return Evidence(
        evidence.channel,
        evidence.lab,
        canonical_report_number(evidence.report_number),
        evidence.outcome,
        from_timestamp(evidence.sample_time) if has("sample_time") else None,
        from_timestamp(evidence.report_time) if has("report_time") else None,
        _item(evidence.item),
        evidence.lab_name,
    )


def _item(name: str) -> str:
    """Return the id of an item. An empty name stands for the default item."""
    return parse_item(name) if name else DEFAULT_ITEM


def claim_from_proto(claim: decision_pb2.ClaimedRecord) -> Claim:
    """Return what Results found of a piece of evidence."""
    record = record_from_proto(claim.test_result) if claim.HasField("test_result") else None
    retention_start_time = (
        from_timestamp(claim.retention_start_time) if claim.HasField("retention_start_time") else None
    )
    possible = tuple([record_from_proto(result) for result in claim.possible_results])
    answer = answer_from_proto(claim.lab_answer) if claim.HasField("lab_answer") else None
    return Claim(claim.state, record, claim.lab_standing, retention_start_time, claim.lab, possible, answer)


def answer_from_proto(answer: missing_report_pb2.LabAnswer) -> LabAnswer:
    """Return what a laboratory has answered to a missing report."""
    expected = from_timestamp(answer.expected_time) if answer.HasField("expected_time") else None
    return LabAnswer(answer.answer, from_timestamp(answer.answer_time), expected)


def source_from_proto(source: lookup_pb2.DataSource) -> SourceStatus:
    """Return a source of a decision and its state."""
    return _source(source_name(source), source)


def source_from_results(source: lookup_pb2.DataSource) -> SourceStatus:
    """Return a source of a look-up. The message names a node; the source is that node's Results."""
    return _source(source.node + _RESULTS, source)


def _source(name: str, source: lookup_pb2.DataSource) -> SourceStatus:
    as_of = from_timestamp(source.as_of_time) if source.HasField("as_of_time") else None
    removed = from_timestamp(source.retention_start_time) if source.HasField("retention_start_time") else None
    return SourceStatus(name, source.state, as_of, removed)


_RESULTS = "/results"
_POLICY = "/policy"


def source_name(message: lookup_pb2.DataSource | next_step_pb2.NextStep) -> str:
    """Return the name of a source: the node's name with "/results" or "/policy" appended; empty if none is named."""
    if message.results_service:
        return message.results_service + _RESULTS
    if message.policy_service:
        return message.policy_service + _POLICY
    return message.node


def mend_sources(message: decision_pb2.Decision | decision_pb2.DecisionInputs) -> None:
    """Set the field for each source's kind in a stored message.

    In older messages the field `node` holds the whole name of the source.
    """
    for source in message.sources:
        set_source(source, source_name(source))
    if isinstance(message, decision_pb2.Decision):
        for step in message.next_steps:
            set_source(step, source_name(step))


def set_source(message: lookup_pb2.DataSource | next_step_pb2.NextStep, name: str) -> None:
    """Write a source's name into a message."""
    if name.endswith(_RESULTS):
        message.results_service = name.removesuffix(_RESULTS)
    elif name.endswith(_POLICY):
        message.policy_service = name.removesuffix(_POLICY)
    elif name:
        message.node = name
