"""ResultsAdminService: corrections and recalls. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.results_admin_service_pb2 import (
    CorrectResultRequest,
    CorrectResultResponse,
    RecallResultsRequest,
    RecallResultsResponse,
)
from hutong.results.v1.results_admin_service_pb2_grpc import ResultsAdminServiceServicer

from services.results.corrections.approval import RecallApprovals
from services.results.corrections.convert import correction_from_proto
from services.results.corrections.model import Corrected
from services.results.corrections.store import CorrectionStore
from services.results.fields import token
from services.results.labs.store import LabStore
from services.results.records.convert import result_to_proto
from services.runtime.clock import Clock
from services.storage.idempotency import IdempotentRequest

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class ResultsAdminServicer(ResultsAdminServiceServicer):
    """Corrections and recalls."""

    def __init__(
        self, store: CorrectionStore, approvals: RecallApprovals, labs: LabStore, jurisdiction: str, clock: Clock
    ) -> None:
        self._store = store
        self._approvals = approvals
        self._labs = labs
        self._jurisdiction = jurisdiction
        self._clock = clock

    async def CorrectResult(self, request: CorrectResultRequest, context: Context) -> CorrectResultResponse:
        now = self._clock.now()
        correction = correction_from_proto(request)
        lab = await self._labs.get_lab(correction.lab)

        def encode(corrected: Corrected) -> CorrectResultResponse:
            result, position = corrected
            return CorrectResultResponse(
                test_result=result_to_proto(result, lab.standing_at(result.reference_time)),
                consistency_token=token(self._jurisdiction, position),
            )

        return await self._store.correct(correction, IdempotentRequest(request, CorrectResultResponse, encode, now))

    async def RecallResults(self, request: RecallResultsRequest, context: Context) -> RecallResultsResponse:
        return await self._approvals.recall(request)
