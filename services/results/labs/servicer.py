"""LabService: the register of laboratories. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.lab_service_pb2 import (
    CreateLabRequest,
    CreateLabResponse,
    GetLabRequest,
    GetLabResponse,
    ListLabsRequest,
    ListLabsResponse,
    SetLabSigningKeyRequest,
    SetLabSigningKeyResponse,
    SetLabStandingRequest,
    SetLabStandingResponse,
    UpdateLabRequest,
    UpdateLabResponse,
)
from hutong.results.v1.lab_service_pb2_grpc import LabServiceServicer
from hutong_texts import english

from services.domain.errors import PermissionDenied
from services.domain.instant import from_timestamp
from services.domain.names import parse_lab
from services.domain.region import NATION
from services.domain.subject import mask_free_text
from services.results.labs import convert
from services.results.labs.model import Lab, StandingChange
from services.results.labs.store import LabStore
from services.runtime.call import current_actor, current_call, may_see_actors, may_see_contacts
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens, rows_to_read
from services.storage.idempotency import IdempotentRequest

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class LabServicer(LabServiceServicer):
    """The register of laboratories."""

    def __init__(self, store: LabStore, tokens: PageTokens, clock: Clock, *, at_nation: bool) -> None:
        self._store = store
        self._at_nation = at_nation
        self._tokens = tokens
        self._clock = clock

    async def CreateLab(self, request: CreateLabRequest, context: Context) -> CreateLabResponse:
        if self._at_nation:
            _require_nation()
        now = self._clock.now()
        lab = convert.lab_from_proto(request.lab, now)
        shown = may_see_actors()

        def encode(lab: Lab) -> CreateLabResponse:
            return CreateLabResponse(lab=convert.lab_to_proto(lab, now, with_actors=shown))

        return await self._store.create_lab(lab, IdempotentRequest(request, CreateLabResponse, encode, now))

    async def UpdateLab(self, request: UpdateLabRequest, context: Context) -> UpdateLabResponse:
        values = convert.values_from_proto(request)
        if self._at_nation:
            _require_nation()
        now = self._clock.now()
        shown = may_see_actors()

        def encode(lab: Lab) -> UpdateLabResponse:
            return UpdateLabResponse(lab=convert.lab_to_proto(lab, now, with_actors=shown))

        idempotent = IdempotentRequest(request, UpdateLabResponse, encode, now)
        return await self._store.update_lab(parse_lab(request.lab.name, "lab.name"), values, idempotent)

    async def GetLab(self, request: GetLabRequest, context: Context) -> GetLabResponse:
        lab = await self._store.get_lab(parse_lab(request.name))
        message = convert.lab_to_proto(
            lab, self._clock.now(), with_actors=may_see_actors(), with_contact=may_see_contacts()
        )
        return GetLabResponse(lab=message)

    async def ListLabs(self, request: ListLabsRequest, context: Context) -> ListLabsResponse:
        query = convert.query_from_proto(request)
        position = self._tokens.position(request, (str,))
        found = await self._store.list_labs(query, position[0] if position else "", rows_to_read(request.page_size))
        shown, token = self._tokens.page(request, found, lambda lab: [lab.uscc])
        now = self._clock.now()
        with_contact = may_see_contacts()
        labs = [convert.lab_to_proto(lab, now, with_history=False, with_contact=with_contact) for lab in shown]
        return ListLabsResponse(labs=labs, next_page_token=token)

    async def SetLabStanding(self, request: SetLabStandingRequest, context: Context) -> SetLabStandingResponse:
        now = self._clock.now()
        effective = from_timestamp(request.effective_time) if request.HasField("effective_time") else now
        change = StandingChange(request.standing, effective, mask_free_text(request.reason), now, current_actor())
        shown = may_see_actors()

        def encode(lab: Lab) -> SetLabStandingResponse:
            return SetLabStandingResponse(lab=convert.lab_to_proto(lab, now, with_actors=shown))

        idempotent = IdempotentRequest(request, SetLabStandingResponse, encode, now)
        return await self._store.set_standing(parse_lab(request.name), change, idempotent)

    async def SetLabSigningKey(self, request: SetLabSigningKeyRequest, context: Context) -> SetLabSigningKeyResponse:
        now = self._clock.now()
        key = convert.key_from_proto(request.signing_key, now, current_actor())
        shown = may_see_actors()

        def encode(lab: Lab) -> SetLabSigningKeyResponse:
            return SetLabSigningKeyResponse(lab=convert.lab_to_proto(lab, now, with_actors=shown))

        idempotent = IdempotentRequest(request, SetLabSigningKeyResponse, encode, now)
        return await self._store.set_signing_key(parse_lab(request.name), key, idempotent)


def _require_nation() -> None:
    """Check that the caller may write the nation's register, which decides the home of each laboratory.

    Raises:
        PermissionDenied: NOT_PERMITTED, the caller supervises a smaller region than the nation.
    """
    call = current_call.get()
    if call is not None and call.caller.region not in ("", NATION):
        raise PermissionDenied(
            "NOT_PERMITTED",
            english("only the nation's supervisor registers and changes laboratories at the nation"),
            metadata={"role": call.caller.role, "needed": f"supervisor: own region {NATION}"},
        )
