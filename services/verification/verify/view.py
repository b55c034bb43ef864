"""Views of decisions. The contract marks the fields of the minimal view (hutong.access.v1.minimal)."""

from __future__ import annotations

from hutong.access.v1 import access_pb2
from hutong.verification.v1 import decision_pb2

from services.verification.verify.questions.asker import FULL, View
from services.verification.verify.questions.question import Question

_NOT_MINIMAL = [
    field.name
    for field in decision_pb2.Decision.DESCRIPTOR.fields
    if not field.GetOptions().Extensions[access_pb2.minimal]
]


def cut_to_view(decision: decision_pb2.Decision, view: View) -> None:
    """Clear the fields of a decision that a view does not have. Every view but FULL is the minimal one."""
    if view != FULL:
        for name in _NOT_MINIMAL:
            decision.ClearField(name)  # type: ignore[arg-type]


def show(decision: decision_pb2.Decision, question: Question) -> None:
    """Cut a decision to the view of its question, and add the masked name of a token's holder.

    Call this function after the stored form of the decision is made, because masks must not be stored.
    """
    cut_to_view(decision, question.view)
    if question.token is not None:
        decision.masked_name = question.token.masked_name
