"""What a gate does with a decision."""

from __future__ import annotations

from hutong.verification.v1.decision_pb2 import GATE_ACTION_LET_IN, GATE_ACTION_LET_IN_AND_REGISTER, Decision


def lets_in(decision: Decision) -> bool:
    """Return whether the gate lets the holder in now.

    An action that this version does not know lets nobody in, and ASK_AGAIN lets nobody in before the second answer.
    """
    return decision.action in (GATE_ACTION_LET_IN, GATE_ACTION_LET_IN_AND_REGISTER)
