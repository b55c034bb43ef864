"""What must be stored before an answer leaves: the decision, if it is kept, and the row of the audit."""

from __future__ import annotations

from hutong.verification.v1 import decision_pb2 as pb

from services.domain.subject import Pepper
from services.runtime.audit import AuditKind, CallAudit, Subject
from services.verification.decision.model import Decision, Evidence
from services.verification.verify.question import Question
from services.verification.verify.store import KeptAnswer, StoredDecision

_OUTCOMES = {number: name.removeprefix("DECISION_OUTCOME_") for name, number in pb.DecisionOutcome.items()}
"""The words of outcomes in the audit."""

_CASES = frozenset({pb.DECISION_REASON_EVIDENCE_NOT_COMPARABLE, pb.DECISION_REASON_CLEARANCE_NOT_RECORDED})
"""Reasons for UNDETERMINED that are cases to follow up. The others are an absence, such as that of a source."""


def must_be_kept(decision: Decision) -> bool:
    """Return whether a decision is stored even if the caller does not ask for it.

    Stored are NOT_RECOGNIZED and decisions for which evidence was weighed. Others are not stored, so that the system
    knows as little as possible of where people go. UNDETERMINED for an absence alone says nothing of the person, and an
    outage would store one for every question.
    """
    if decision.outcome == pb.DECISION_OUTCOME_NOT_RECOGNIZED or decision.reason in _CASES:
        return True
    return any(
        isinstance(considered.subject, Evidence) and considered.use != pb.EVIDENCE_USE_NOT_NEEDED
        for considered in decision.considered
    )


def kept_answer(
    question: Question,
    decision: pb.Decision,
    kept: StoredDecision | None,
    audit: CallAudit | None,
    pepper: Pepper,
) -> KeptAnswer | None:
    """Return what must be stored before an answer leaves; None if nothing. Outside a call nothing is recorded."""
    if audit is None:
        return None if kept is None else KeptAnswer(kept, None)
    asked = question.policy
    subject = Subject("", pepper.subject_key(question.document), asked.purpose, asked.region)
    audit.is_recorded = True
    return KeptAnswer(kept, (audit.trail, audit.event(AuditKind.READ, subject, outcome=_OUTCOMES[decision.outcome])))
