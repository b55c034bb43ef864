"""A small Verification service whose decisions are named after the document's number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial

import grpc
from hutong.verification.v1.decision_pb2 import Decision
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    BatchVerifyResponse,
    ReplayDecisionRequest,
    ReplayDecisionResponse,
    StreamVerifyRequest,
    StreamVerifyResponse,
    VerifyItem,
    VerifyRequest,
)
from hutong.verification.v1.verification_service_pb2_grpc import (
    VerificationServiceServicer,
    add_VerificationServiceServicer_to_server,
)

from tests.support.client.fake_server import serving_fake


class FakeVerification(VerificationServiceServicer):
    """Answers every question.

    The questions of a stream are answered in reverse order. The comparison of a replay is the name in the request.

    Args:
        decisions: the decisions by the numbers of documents.
        other: the decision for any other number; None for one that is named after the number.
    """

    def __init__(self, decisions: Mapping[str, Decision] | None = None, other: Decision | None = None) -> None:
        self._decisions = decisions or {}
        self._other = other

    def BatchVerify(self, request: BatchVerifyRequest, _context: grpc.ServicerContext) -> BatchVerifyResponse:
        return BatchVerifyResponse(items=[VerifyItem(decision=self._decide(asked)) for asked in request.requests])

    def StreamVerify(
        self, request_iterator: Iterator[StreamVerifyRequest], _context: grpc.ServicerContext
    ) -> Iterator[StreamVerifyResponse]:
        for asked in reversed(list(request_iterator)):
            yield StreamVerifyResponse(correlation_id=asked.correlation_id, decision=self._decide(asked.request))

    def _decide(self, request: VerifyRequest) -> Decision:
        number = request.document.number
        return self._decisions.get(number) or self._other or Decision(name=number)

    def ReplayDecision(self, request: ReplayDecisionRequest, _context: grpc.ServicerContext) -> ReplayDecisionResponse:
        return ReplayDecisionResponse(comparison=request.name)  # type: ignore[arg-type]


def serving_verification(
    decisions: Mapping[str, Decision] | None = None, other: Decision | None = None
) -> AbstractContextManager[str]:
    """Serve on a free port of loopback until the block ends. The context is the address."""
    return serving_fake(partial(add_VerificationServiceServicer_to_server, FakeVerification(decisions, other)))
