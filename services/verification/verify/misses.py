"""Decides which answers are misses. Misses count against the budgets of callers. Pure."""

from __future__ import annotations

from hutong.verification.v1 import decision_pb2 as pb

from services.verification.decision.model import Decision, Inputs

_WITHOUT_RESULT = {pb.DECISION_REASON_NO_RESULT, pb.DECISION_REASON_NATION_NOT_ASKED}
"""Reasons that always count as misses. An unavailable source does not count, because an outage would make every answer
a miss."""
_WITHOUT_LOOK_UP = {
    pb.DECISION_REASON_NO_TEST_REQUIRED,
    pb.DECISION_REASON_NO_POLICY_IN_FORCE,
    pb.DECISION_REASON_SOURCE_UNAVAILABLE,
}
"""Reasons that never count as misses, because no look-up was needed or a source did not answer."""


def is_miss(decision: Decision, inputs: Inputs) -> bool:
    """Return whether nothing is recorded of the person.

    If evidence was shown, the reason of the decision is not NO_RESULT, but the answer is still a miss if no record was
    found. Otherwise a caller could try out names without end by showing made-up evidence.
    """
    if decision.reason in _WITHOUT_RESULT:
        return True
    if not inputs.evidence or inputs.records or decision.reason in _WITHOUT_LOOK_UP:
        return False
    return not any(claim.record is not None or claim.possible for claim in inputs.claims)
