"""The order of decisions by how good they are for the holder, a total preorder. Pure."""

from __future__ import annotations

from typing import TypeAlias

from hutong.verification.v1 import decision_pb2 as pb

from services.domain.instant import Instant
from services.verification.decision.model import Decision

Favour: TypeAlias = tuple[int, Instant]

_RANKS = {
    pb.DECISION_OUTCOME_NOT_REQUIRED: 0,
    pb.DECISION_OUTCOME_RECOGNIZED: 1,
    pb.DECISION_OUTCOME_UNDETERMINED: 2,
    pb.DECISION_OUTCOME_NOT_RECOGNIZED: 3,
}


def favour(decision: Decision) -> Favour:
    """Return a key by which decisions are compared; the smallest is the best for the holder.

    The order is: no result required, recognised (later expiry first), undetermined, not recognised without refusal, not
    recognised with refusal.
    """
    rank = _RANKS[decision.outcome] + decision.refusal_permitted
    recognised = decision.outcome == pb.DECISION_OUTCOME_RECOGNIZED
    return rank, -decision.expire_time if recognised and decision.expire_time is not None else 0


def best_for_holder(decisions: tuple[Decision, Decision]) -> Decision:
    """Return the better of two decisions. If they are equally good, the name of the policy decides."""
    return min(decisions, key=lambda one: (favour(one), one.policy.governing if one.policy else ""))
