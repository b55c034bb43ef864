"""The gRPC face of the Verification service: wire ↔ domain, nothing else. The contract documents each RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hutong.verification.v1.decision_pb2 import Decision, DecisionInputs
from hutong.verification.v1.verification_service_pb2 import (
    BatchVerifyRequest,
    BatchVerifyResponse,
    GetDecisionRequest,
    GetDecisionResponse,
    ReplayDecisionRequest,
    ReplayDecisionResponse,
    StreamVerifyRequest,
    StreamVerifyResponse,
    VerifyRequest,
    VerifyResponse,
)
from hutong.verification.v1.verification_service_pb2_grpc import VerificationServiceServicer

from services.domain.names import parse_decision
from services.verification.desk import DecisionDesk
from services.verification.store import Store
from services.verification.stream import GateDesk

Context = Any
"""grpc.aio.ServicerContext; the layers around these methods have used what there is to use of it."""


class VerificationServicer(VerificationServiceServicer):
    """Decisions."""

    def __init__(self, desk: DecisionDesk, gates: GateDesk, store: Store) -> None:
        self._desk = desk
        self._gates = gates
        self._store = store

    async def Verify(self, request: VerifyRequest, context: Context) -> VerifyResponse:
        return VerifyResponse(decision=await self._desk.verify(request))

    async def BatchVerify(self, request: BatchVerifyRequest, context: Context) -> BatchVerifyResponse:
        return BatchVerifyResponse(items=await self._desk.verify_each(request.requests))

    async def StreamVerify(
        self, requests: AsyncIterator[StreamVerifyRequest], context: Context
    ) -> AsyncIterator[StreamVerifyResponse]:
        async for response in self._gates.serve(requests):
            yield response

    async def GetDecision(self, request: GetDecisionRequest, context: Context) -> GetDecisionResponse:
        stored = await self._store.get_decision(parse_decision(request.name))
        return GetDecisionResponse(
            decision=Decision.FromString(stored.decision), inputs=DecisionInputs.FromString(stored.inputs)
        )

    async def ReplayDecision(self, request: ReplayDecisionRequest, context: Context) -> ReplayDecisionResponse:
        decision, identical = await self._desk.replay(parse_decision(request.name))
        return ReplayDecisionResponse(decision=decision, identical=identical)
