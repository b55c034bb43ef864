"""A small Verification service whose decisions are named after the document's number."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent import futures

import grpc
from hutong.verification.v1.decision_pb2 import Decision
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    BatchVerifyResponse,
    StreamVerifyRequest,
    StreamVerifyResponse,
    VerifyItem,
    VerifyRequest,
)
from hutong.verification.v1.verification_service_pb2_grpc import (
    VerificationServiceServicer,
    add_VerificationServiceServicer_to_server,
)


class FakeVerification(VerificationServiceServicer):
    """Answers every question. The name of the decision is the document's number. A stream is answered in reverse."""

    def BatchVerify(self, request: BatchVerifyRequest, _context: grpc.ServicerContext) -> BatchVerifyResponse:
        return BatchVerifyResponse(items=[VerifyItem(decision=_decide(asked)) for asked in request.requests])

    def StreamVerify(
        self, request_iterator: Iterator[StreamVerifyRequest], _context: grpc.ServicerContext
    ) -> Iterator[StreamVerifyResponse]:
        for asked in reversed(list(request_iterator)):
            yield StreamVerifyResponse(correlation_id=asked.correlation_id, decision=_decide(asked.request))


def _decide(request: VerifyRequest) -> Decision:
    return Decision(name=request.document.number)


@contextlib.contextmanager
def serving_verification() -> Iterator[str]:
    """Serve on a free port of loopback. Yields the address."""
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    add_VerificationServiceServicer_to_server(FakeVerification(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
