"""A case of evidence, and what opens one. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hutong.verification.v1 import decision_pb2, evidence_case_pb2, evidence_flag_pb2

from services.domain.instant import Instant

if TYPE_CHECKING:
    from services.verification.decision.model import EvidenceUse

    CaseKind: TypeAlias = evidence_case_pb2.EvidenceCaseKind.ValueType
    CaseState: TypeAlias = evidence_case_pb2.EvidenceCaseState.ValueType
    Finding: TypeAlias = evidence_case_pb2.EvidenceCaseFinding.ValueType

OPEN = evidence_case_pb2.EVIDENCE_CASE_STATE_OPEN
ASSIGNED = evidence_case_pb2.EVIDENCE_CASE_STATE_ASSIGNED
CONCLUDED = evidence_case_pb2.EVIDENCE_CASE_STATE_CONCLUDED

NOT_CONCLUDED = evidence_case_pb2.EVIDENCE_CASE_FINDING_UNSPECIFIED

KIND_OF_USE: dict[EvidenceUse, CaseKind] = {
    decision_pb2.EVIDENCE_USE_CONTRADICTS_RECORD: evidence_case_pb2.EVIDENCE_CASE_KIND_CONTRADICTS_RECORD,
    decision_pb2.EVIDENCE_USE_DENIED_BY_LAB: evidence_case_pb2.EVIDENCE_CASE_KIND_DENIED_BY_LAB,
    decision_pb2.EVIDENCE_USE_WOULD_CLEAR: evidence_case_pb2.EVIDENCE_CASE_KIND_CLEARANCE_NOT_RECORDED,
}
"""For each use of evidence in a decision that opens a case: the kind of that case. Other uses open no case."""
KIND_OF_FLAG: dict[int, CaseKind] = {
    evidence_flag_pb2.EVIDENCE_FLAG_KIND_OTHER_PERSON: evidence_case_pb2.EVIDENCE_CASE_KIND_OTHER_PERSON,
    evidence_flag_pb2.EVIDENCE_FLAG_KIND_OTHER_TIMES: evidence_case_pb2.EVIDENCE_CASE_KIND_OTHER_TIMES,
}
"""For each flag of a showing that opens a case: the kind of that case. Other flags open no case."""


class CaseOpening(NamedTuple):
    """Evidence that opens a case. If the report already has a case of the same kind, no case is opened.

    Attributes:
        lab: the code of the laboratory.
        differing_fields: the fields in which the evidence differs from its record.
        region: the prefecture of the place.
        decision: the UUID of the decision for which the evidence was shown.
        other_decision: the UUID of the decision with whose evidence this evidence was compared; empty if there is none.
        time: when the decision was made.
    """

    lab: str
    report_number: str
    kind: CaseKind
    differing_fields: tuple[str, ...]
    region: str
    decision: str
    other_decision: str
    time: Instant


class EvidenceCase(NamedTuple):
    """A case. The contract describes each field (`hutong.verification.v1.EvidenceCase`)."""

    uuid: str
    lab: str
    report_number: str
    kind: CaseKind
    differing_fields: tuple[str, ...]
    region: str
    decision: str
    other_decision: str
    create_time: Instant
    assignee: str = ""
    assign_time: Instant | None = None
    assign_actor: str = ""
    finding: Finding = NOT_CONCLUDED
    note: str = ""
    conclude_time: Instant | None = None
    conclude_actor: str = ""

    @property
    def state(self) -> CaseState:
        """The state of the case: open, assigned or concluded."""
        if self.finding != NOT_CONCLUDED:
            return CONCLUDED
        return ASSIGNED if self.assignee else OPEN
