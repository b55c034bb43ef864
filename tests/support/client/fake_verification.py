"""A small Verification service whose decisions are named after the document's number."""

from __future__ import annotations

from collections.abc import Iterator
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
    """Answers every question. The name of the decision is the document's number. A stream is answered in reverse.

    A replay compares as the name of the decision says.
    """

    def BatchVerify(self, request: BatchVerifyRequest, _context: grpc.ServicerContext) -> BatchVerifyResponse:
        return BatchVerifyResponse(items=[VerifyItem(decision=_decide(asked)) for asked in request.requests])

    def StreamVerify(
        self, request_iterator: Iterator[StreamVerifyRequest], _context: grpc.ServicerContext
    ) -> Iterator[StreamVerifyResponse]:
        for asked in reversed(list(request_iterator)):
            yield StreamVerifyResponse(correlation_id=asked.correlation_id, decision=_decide(asked.request))

    def ReplayDecision(self, request: ReplayDecisionRequest, _context: grpc.ServicerContext) -> ReplayDecisionResponse:
        return ReplayDecisionResponse(comparison=request.name)  # type: ignore[arg-type]


def _decide(request: VerifyRequest) -> Decision:
    return Decision(name=request.document.number)


def serving_verification() -> AbstractContextManager[str]:
    """Serve on a free port of loopback until the block ends. The context is the address."""
    return serving_fake(partial(add_VerificationServiceServicer_to_server, FakeVerification()))
