"""HolderTokenService: issues tokens. The contract documents the RPC."""

from __future__ import annotations

from typing import Any

from hutong.verification.v1.holder_token_service_pb2 import IssueHolderTokenRequest, IssueHolderTokenResponse
from hutong.verification.v1.holder_token_service_pb2_grpc import HolderTokenServiceServicer
from hutong_texts import english

from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_document
from services.domain.instant import to_timestamp
from services.domain.person_name import person_name_form
from services.domain.subject import Pepper, mask_name
from services.runtime.clock import Clock
from services.verification.holder_tokens.seal import GOOD_FOR, TokenSeal

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class HolderTokenServicer(HolderTokenServiceServicer):
    """Issues tokens of the user who signed in at the calling app."""

    def __init__(self, seal: TokenSeal, pepper: Pepper, clock: Clock) -> None:
        self._seal = seal
        self._pepper = pepper
        self._clock = clock

    async def IssueHolderToken(self, request: IssueHolderTokenRequest, context: Context) -> IssueHolderTokenResponse:
        found: list[Violation] = []
        document = check_document(request.document, "document", found)
        if not person_name_form(request.document.name):
            text = english("value is required: the gate compares its mask with the document")
            found.append(Violation("document.name", "INVALID_FIELD", text))
        if document is None or found:
            raise InvalidArgument.of(found)
        now = self._clock.now()
        masked_name = mask_name(request.document.name)
        keys = self._pepper.subject_keys(document)
        token = self._seal.issue(keys, request.document.number, masked_name, request.purpose, now)
        return IssueHolderTokenResponse(holder_token=token, expire_time=to_timestamp(now + GOOD_FOR))
