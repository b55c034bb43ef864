"""Operations on a store of Results: register and suspend a laboratory, correct and recall results."""

from __future__ import annotations

from hutong.results.v1 import lab_pb2
from hutong.results.v1.lab_service_pb2 import (
    CreateLabRequest,
    CreateLabResponse,
    SetLabStandingRequest,
    SetLabStandingResponse,
)
from hutong.results.v1.results_admin_service_pb2 import (
    CorrectResultRequest,
    CorrectResultResponse,
    RecallResultsRequest,
    RecallResultsResponse,
)

from services.domain.instant import DAY, Instant
from services.results.corrections.model import Corrected, Correction, Recall, Recalled
from services.results.labs.model import Lab, StandingChange
from services.results.records.model import StoredResult
from services.storage.idempotency import IdempotentRequest
from tests.support.results.factories import (
    LAB_NAME,
    NEGATIVE,
    NOW,
    REPORTED,
    USCC,
    make_lab,
)
from tests.support.results.store import Laboratory


async def register(laboratory: Laboratory, lab: Lab | None = None, request_id: str = "") -> Lab:
    stored: list[Lab] = []

    def encode(each: Lab) -> CreateLabResponse:
        stored.append(each)
        return CreateLabResponse()

    once = IdempotentRequest(CreateLabRequest(request_id=request_id), CreateLabResponse, encode, NOW)
    await laboratory.stores.labs.create_lab(lab or make_lab(), once)
    return stored[0]


async def suspend(laboratory: Laboratory, effective: Instant, reason: str = "red light", request_id: str = "") -> None:
    change = StandingChange(lab_pb2.LAB_STANDING_SUSPENDED, effective, reason, laboratory.clock.now())
    request = SetLabStandingRequest(reason=reason, request_id=request_id)
    once = IdempotentRequest(
        request, SetLabStandingResponse, lambda _: SetLabStandingResponse(), laboratory.clock.now()
    )
    await laboratory.stores.labs.set_standing(USCC, change, once)


async def correct(
    laboratory: Laboratory,
    outcome: int = NEGATIVE,
    sampled: Instant | None = None,
    reported: Instant | None = None,
    *,
    number: str = "R0",
    lab: str = USCC,
    request_id: str = "",
    now: Instant = NOW,
) -> StoredResult | None:
    """Correct a report. Return None if the request id was used before and the stored response was returned."""
    written: list[StoredResult] = []

    def encode(corrected: Corrected) -> CorrectResultResponse:
        written.append(corrected.result)
        return CorrectResultResponse()

    request = CorrectResultRequest(request_id=request_id, outcome=outcome)  # type: ignore[arg-type]
    correction = Correction(lab, number, outcome, sampled, reported, "a slip of the pen", None, LAB_NAME)  # type: ignore[arg-type]
    await laboratory.stores.corrections.correct(
        correction, IdempotentRequest(request, CorrectResultResponse, encode, now)
    )
    return written[0] if written else None


async def recall(
    laboratory: Laboratory,
    start: Instant = REPORTED - DAY,
    end: Instant = NOW,
    *outcomes: int,
    dry_run: bool = False,
    request_id: str = "",
    reason: str = "a contaminated batch",
    lab: str = USCC,
) -> int:
    """Recall results. Return how many were recalled, as the response says."""
    request = RecallResultsRequest(request_id=request_id, reason=reason, outcomes=outcomes)  # type: ignore[arg-type]
    once: IdempotentRequest[Recalled, RecallResultsResponse] = IdempotentRequest(
        request,
        RecallResultsResponse,
        lambda recalled: RecallResultsResponse(recalled_count=recalled.report_count),
        NOW,
    )
    asked = Recall(lab, start, end, outcomes, reason)
    return (await laboratory.stores.corrections.recall(asked, once, dry_run=dry_run)).recalled_count
