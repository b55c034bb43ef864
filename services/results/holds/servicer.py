"""LegalHoldService. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.legal_hold_service_pb2 import (
    CreateLegalHoldRequest,
    CreateLegalHoldResponse,
    LiftLegalHoldRequest,
    LiftLegalHoldResponse,
    ListHeldResultsRequest,
    ListHeldResultsResponse,
    ListLegalHoldsRequest,
    ListLegalHoldsResponse,
)

from services.domain.fields import known_region
from services.domain.names import parse_legal_hold
from services.domain.subject import Pepper, mask_free_text
from services.results.holds import convert
from services.results.holds.model import HeldResult, LegalHold
from services.results.holds.store import HoldStore
from services.runtime.call import current_actor, current_case
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.runtime.page_tokens import PageTokens, rows_to_read
from services.storage.idempotency import IdempotentRequest

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class LegalHoldServicer:
    """Legal holds of this node."""

    def __init__(self, store: HoldStore, pepper: Pepper, tokens: PageTokens, clock: Clock) -> None:
        self._store = store
        self._pepper = pepper
        self._tokens = tokens
        self._clock = clock

    async def CreateLegalHold(self, request: CreateLegalHoldRequest, context: Context) -> CreateLegalHoldResponse:
        now = self._clock.now()
        hold = convert.hold_from_proto(request, self._pepper, uuid7(), now, current_actor(), current_case())

        def encode(hold: LegalHold) -> CreateLegalHoldResponse:
            return CreateLegalHoldResponse(legal_hold=convert.hold_to_proto(hold))

        return await self._store.create(hold, IdempotentRequest(request, CreateLegalHoldResponse, encode, now))

    async def LiftLegalHold(self, request: LiftLegalHoldRequest, context: Context) -> LiftLegalHoldResponse:
        hold_id, reason = parse_legal_hold(request.name), mask_free_text(request.reason)

        def encode(hold: LegalHold) -> LiftLegalHoldResponse:
            return LiftLegalHoldResponse(legal_hold=convert.hold_to_proto(hold))

        once = IdempotentRequest(request, LiftLegalHoldResponse, encode, self._clock.now())
        return await self._store.lift(hold_id, reason, current_actor(), once)

    async def ListLegalHolds(self, request: ListLegalHoldsRequest, context: Context) -> ListLegalHoldsResponse:
        position = self._tokens.position(request, (int, str))
        after = (position[0], position[1]) if position else None
        rows = rows_to_read(request.page_size)
        region = known_region(request.region, "region") if request.region else ""
        found = await self._store.list_holds(region, after, rows, include_lifted=request.include_lifted)
        shown, token = self._tokens.page(request, found, lambda hold: [hold.create_time, hold.hold_id])
        return ListLegalHoldsResponse(legal_holds=map(convert.hold_to_proto, shown), next_page_token=token)

    async def ListHeldResults(self, request: ListHeldResultsRequest, context: Context) -> ListHeldResultsResponse:
        hold_id = parse_legal_hold(request.name)
        position = self._tokens.position(request, (str, str, int))
        after = (position[0], position[1], position[2]) if position else None
        found = await self._store.list_held(hold_id, after, rows_to_read(request.page_size))
        shown, token = self._tokens.page(request, found, _position_of)
        return ListHeldResultsResponse(held_results=map(convert.held_to_proto, shown), next_page_token=token)


def _position_of(held: HeldResult) -> list[str | int]:
    return [held.result.lab, held.result.report_number, held.result.revision]
