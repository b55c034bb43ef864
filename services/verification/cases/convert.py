"""Converts cases to messages."""

from __future__ import annotations

from hutong.verification.v1 import evidence_case_pb2

from services.domain.instant import optional_timestamp, to_timestamp
from services.domain.names import format_case, format_decision, format_lab
from services.verification.cases.model import EvidenceCase


def case_to_proto(case: EvidenceCase) -> evidence_case_pb2.EvidenceCase:
    """Return the message of a case."""
    return evidence_case_pb2.EvidenceCase(
        name=format_case(case.uuid),
        lab=format_lab(case.lab),
        report_number=case.report_number,
        kind=case.kind,
        differing_fields=case.differing_fields,
        state=case.state,
        region=case.region,
        decision=format_decision(case.decision),
        other_decision=format_decision(case.other_decision) if case.other_decision else "",
        create_time=to_timestamp(case.create_time),
        assignee=case.assignee,
        assign_time=optional_timestamp(case.assign_time),
        assign_actor=case.assign_actor,
        finding=case.finding,
        note=case.note,
        conclude_time=optional_timestamp(case.conclude_time),
        conclude_actor=case.conclude_actor,
    )
