"""EvidenceFlagService: lists flagged reports. The contract documents the RPC."""

from __future__ import annotations

from typing import Any

from hutong.verification.v1.evidence_flag_service_pb2 import ListEvidenceFlagsRequest, ListEvidenceFlagsResponse
from hutong.verification.v1.evidence_flag_service_pb2_grpc import EvidenceFlagServiceServicer

from services.domain.fields import known_region
from services.domain.names import parse_lab
from services.runtime.page_tokens import PageTokens, rows_to_read
from services.verification.showings.convert import flag_to_proto
from services.verification.showings.store import FlagQuery, FlagStore

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class EvidenceFlagServicer(EvidenceFlagServiceServicer):
    """Lists flagged reports."""

    def __init__(self, store: FlagStore, tokens: PageTokens) -> None:
        self._store = store
        self._tokens = tokens

    async def ListEvidenceFlags(self, request: ListEvidenceFlagsRequest, context: Context) -> ListEvidenceFlagsResponse:
        position = self._tokens.position(request, (str, str))
        query = FlagQuery(
            known_region(request.region, "region") if request.region else "",
            tuple(request.kinds),
            parse_lab(request.lab, "lab") if request.lab else "",
        )
        before = None if position is None else (position[0], position[1])
        found = await self._store.list_flags(query, before, rows_to_read(request.page_size))
        shown, token = self._tokens.page(request, found, lambda flag: flag.position)
        return ListEvidenceFlagsResponse(evidence_flags=map(flag_to_proto, shown), next_page_token=token)
