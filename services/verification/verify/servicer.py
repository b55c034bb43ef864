"""Translates the RPCs of VerificationService between wire and domain. The contract documents each RPC."""

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
from services.verification.decision.convert import mend_sources
from services.verification.showings.convert import flag_to_proto
from services.verification.showings.store import FlagStore
from services.verification.stored_decisions.store import DecisionStore
from services.verification.verify.questions.asker import FULL, current_asker
from services.verification.verify.replay import replay
from services.verification.verify.single import SingleQuestions
from services.verification.verify.stream import VerificationStream
from services.verification.verify.verifier import Verifier
from services.verification.verify.view import cut_to_view

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class VerificationServicer(VerificationServiceServicer):
    """VerificationService: makes, stores and replays decisions."""

    def __init__(
        self,
        singles: SingleQuestions,
        verifier: Verifier,
        streams: VerificationStream,
        store: DecisionStore,
        flags: FlagStore,
    ) -> None:
        self._singles = singles
        self._verifier = verifier
        self._flags = flags
        self._streams = streams
        self._store = store

    async def Verify(self, request: VerifyRequest, context: Context) -> VerifyResponse:
        return await self._singles.verify(request)

    async def BatchVerify(self, request: BatchVerifyRequest, context: Context) -> BatchVerifyResponse:
        return await self._verifier.verify_each(request)

    def StreamVerify(
        self, requests: AsyncIterator[StreamVerifyRequest], context: Context
    ) -> AsyncIterator[StreamVerifyResponse]:
        return self._streams.serve(requests)

    async def GetDecision(self, request: GetDecisionRequest, context: Context) -> GetDecisionResponse:
        view = current_asker().view_of(request.view)
        uuid = parse_decision(request.name)
        stored = await self._store.get_decision(uuid)
        decision, inputs = Decision.FromString(stored.decision), DecisionInputs.FromString(stored.inputs)
        mend_sources(decision)
        mend_sources(inputs)
        if view != FULL:
            cut_to_view(decision, view)
            return GetDecisionResponse(decision=decision)
        flags = map(flag_to_proto, await self._flags.flags_of(uuid)) if inputs.evidence else ()
        return GetDecisionResponse(decision=decision, inputs=inputs, evidence_flags=flags)

    async def ReplayDecision(self, request: ReplayDecisionRequest, context: Context) -> ReplayDecisionResponse:
        return await replay(self._store, parse_decision(request.name), current_asker().view_of(request.view))
