"""Counts answers about persons of whom nothing is recorded, for the budgets of callers."""

from __future__ import annotations

from google.protobuf.message import Message
from hutong.verification.v1 import decision_pb2
from hutong.verification.v1.verification_service_pb2 import BatchVerifyResponse, StreamVerifyResponse, VerifyResponse

_MISSES = {decision_pb2.DECISION_REASON_NO_RESULT, decision_pb2.DECISION_REASON_NATION_NOT_ASKED}
"""Reasons of misses. An unavailable nation is not among them, because every answer would then be a miss."""


def count_misses(response: Message) -> int:
    """Return how many decisions of a response found no result."""
    if isinstance(response, (VerifyResponse, StreamVerifyResponse)):
        return int(response.decision.reason in _MISSES)
    if isinstance(response, BatchVerifyResponse):
        return sum(item.decision.reason in _MISSES for item in response.items)
    return 0
