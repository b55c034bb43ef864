"""ResultsService and InternalLookupService: reading results. The contract documents each RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from hutong.results.internal.v1.internal_lookup_service_pb2 import BatchLookupColumnsRequest, BatchLookupColumnsResponse
from hutong.results.v1.results_service_pb2 import (
    BatchLookupLatestRequest,
    BatchLookupLatestResponse,
    GetResultRequest,
    GetResultResponse,
    ListResultsRequest,
    ListResultsResponse,
    LookupLatestRequest,
    LookupLatestResponse,
    WatchResultsRequest,
    WatchResultsResponse,
)

from services.domain.names import parse_result
from services.domain.subject import Pepper
from services.results.lookup.convert import listing_to_proto
from services.results.lookup.listing import list_results
from services.results.lookup.lookup import LookupHandler
from services.results.lookup.store import LookupStore
from services.runtime.audit import note_subjects
from services.runtime.clock import Clock
from services.runtime.page_tokens import PageTokens

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class InternalLookupServicer:
    """Look-ups for this node's Verification."""

    def __init__(self, lookup: LookupHandler) -> None:
        self._lookup = lookup

    async def BatchLookupColumns(
        self, request: BatchLookupColumnsRequest, context: Context
    ) -> BatchLookupColumnsResponse:
        return await self._lookup.look_up_columns(request)


class ResultsServicer:
    """Reads results. `watch` answers WatchResults."""

    def __init__(
        self,
        store: LookupStore,
        lookup: LookupHandler,
        watch: Callable[[WatchResultsRequest], AsyncIterator[WatchResultsResponse]],
        pepper: Pepper,
        tokens: PageTokens,
        clock: Clock,
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._watch = watch
        self._pepper = pepper
        self._tokens = tokens
        self._clock = clock

    async def GetResult(self, request: GetResultRequest, context: Context) -> GetResultResponse:
        listing = await self._store.get_result(*parse_result(request.name))
        note_subjects([listing.results[0].subject_key])
        (result,) = listing_to_proto(listing)
        return GetResultResponse(test_result=result)

    async def ListResults(self, request: ListResultsRequest, context: Context) -> ListResultsResponse:
        return await list_results(self._store, self._pepper, self._tokens, request, self._clock.now())

    async def LookupLatest(self, request: LookupLatestRequest, context: Context) -> LookupLatestResponse:
        return await self._lookup.look_up(request)

    async def BatchLookupLatest(self, request: BatchLookupLatestRequest, context: Context) -> BatchLookupLatestResponse:
        return await self._lookup.look_up_each(request)

    async def WatchResults(self, request: WatchResultsRequest, context: Context) -> AsyncIterator[WatchResultsResponse]:
        async for message in self._watch(request):
            yield message
