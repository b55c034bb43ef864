"""Wire → domain of what a decision is made from: records, evidence, what was found of it, sources."""

from __future__ import annotations

from hutong.results.v1 import lookup_pb2, result_pb2
from hutong.verification.v1 import decision_pb2, evidence_pb2

from services.domain.instant import from_timestamp
from services.verification.decision.evidence import canonical_report_number
from services.verification.decision.model import Claim, Evidence, Record, SourceStatus


def record_from_proto(result: result_pb2.TestResult) -> Record:
    """A record as Results tells it."""
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
    )


def evidence_from_proto(evidence: evidence_pb2.PresentedEvidence) -> Evidence:
    """Evidence as it was presented."""
    has = evidence.HasField
    return Evidence(
        evidence.channel,
        evidence.lab,
        canonical_report_number(evidence.report_number),
        evidence.outcome,
        from_timestamp(evidence.sample_time) if has("sample_time") else None,
        from_timestamp(evidence.report_time) if has("report_time") else None,
    )


def claim_from_proto(claim: decision_pb2.ClaimedRecord) -> Claim:
    """What was found of a piece of evidence."""
    record = record_from_proto(claim.test_result) if claim.HasField("test_result") else None
    horizon_time = from_timestamp(claim.horizon_time) if claim.HasField("horizon_time") else None
    return Claim(claim.state, record, claim.lab_standing, horizon_time)


def source_from_proto(source: lookup_pb2.Source, part: str = "") -> SourceStatus:
    """A source that was asked; `part` is appended to its name: "/results" for those that Results told of."""
    as_of = from_timestamp(source.as_of_time) if source.HasField("as_of_time") else None
    return SourceStatus(source.source + part, source.state, as_of)
