"""The gRPC face of the Results service: wire ↔ domain, nothing else. The contract documents each RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hutong.results.v1.lab_service_pb2 import (
    CreateLabRequest,
    CreateLabResponse,
    GetLabRequest,
    GetLabResponse,
    ListLabsRequest,
    ListLabsResponse,
    SetLabStandingRequest,
    SetLabStandingResponse,
)
from hutong.results.v1.lab_service_pb2_grpc import LabServiceServicer
from hutong.results.v1.results_service_pb2 import (
    BatchLookupLatestRequest,
    BatchLookupLatestResponse,
    GetResultRequest,
    GetResultResponse,
    LookupLatestRequest,
    LookupLatestResponse,
)
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceServicer
from hutong.results.v1.upload_service_pb2 import (
    GetUploadRequest,
    GetUploadResponse,
    UploadResultsRequest,
    UploadResultsResponse,
)
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceServicer

from services.domain.errors import InvalidArgument
from services.domain.instant import from_timestamp
from services.domain.names import parse_lab, parse_result, parse_upload
from services.domain.region import is_region
from services.results.convert import lab_from_proto, lab_to_proto, result_to_proto, upload_to_proto
from services.results.desk import LookupDesk
from services.results.model import Lab, StandingChange
from services.results.store import Store
from services.results.stream import UploadDesk
from services.runtime.clock import Clock
from services.runtime.pages import decode_page_token, encode_page_token, page_size

Context = Any
"""grpc.aio.ServicerContext; the layers around these methods have used what there is to use of it."""


class LabServicer(LabServiceServicer):
    """The register of laboratories."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def CreateLab(self, request: CreateLabRequest, context: Context) -> CreateLabResponse:
        now = self._clock.now()
        lab = lab_from_proto(request.lab, now)
        return await self._store.create_lab(lab, request, lambda lab: CreateLabResponse(lab=lab_to_proto(lab, now)))

    async def GetLab(self, request: GetLabRequest, context: Context) -> GetLabResponse:
        lab = await self._store.get_lab(parse_lab(request.name))
        return GetLabResponse(lab=lab_to_proto(lab, self._clock.now()))

    async def ListLabs(self, request: ListLabsRequest, context: Context) -> ListLabsResponse:
        if request.region and not is_region(request.region):
            raise InvalidArgument.field("region", "is not a region of GB/T 2260", "REGION_UNKNOWN")
        position = decode_page_token(request)
        size = page_size(request.page_size)
        labs = await self._store.list_labs(request.region, position[0] if position else "", size + 1)
        token = encode_page_token(request, [labs[size - 1].uscc]) if len(labs) > size else ""
        now = self._clock.now()
        shown = [lab_to_proto(lab, now, with_history=False) for lab in labs[:size]]
        return ListLabsResponse(labs=shown, next_page_token=token)

    async def SetLabStanding(self, request: SetLabStandingRequest, context: Context) -> SetLabStandingResponse:
        now = self._clock.now()
        effective = from_timestamp(request.effective_time) if request.HasField("effective_time") else now
        change = StandingChange(request.standing, effective, request.reason, now)

        def encode(lab: Lab) -> SetLabStandingResponse:
            return SetLabStandingResponse(lab=lab_to_proto(lab, now))

        return await self._store.set_standing(parse_lab(request.name), change, request, encode)


class UploadServicer(UploadServiceServicer):
    """How laboratories bring results in."""

    def __init__(self, store: Store, desk: UploadDesk) -> None:
        self._store = store
        self._desk = desk

    async def UploadResults(
        self, requests: AsyncIterator[UploadResultsRequest], context: Context
    ) -> AsyncIterator[UploadResultsResponse]:
        async for response in self._desk.receive(requests):
            yield response

    async def GetUpload(self, request: GetUploadRequest, context: Context) -> GetUploadResponse:
        upload = await self._store.get_upload(*parse_upload(request.name))
        return GetUploadResponse(upload=upload_to_proto(upload))


class ResultsServicer(ResultsServiceServicer):
    """Reading results."""

    def __init__(self, store: Store, desk: LookupDesk) -> None:
        self._store = store
        self._desk = desk

    async def GetResult(self, request: GetResultRequest, context: Context) -> GetResultResponse:
        result, standing = await self._store.get_result(*parse_result(request.name))
        return GetResultResponse(test_result=result_to_proto(result, standing))

    async def LookupLatest(self, request: LookupLatestRequest, context: Context) -> LookupLatestResponse:
        return await self._desk.look_up(request)

    async def BatchLookupLatest(self, request: BatchLookupLatestRequest, context: Context) -> BatchLookupLatestResponse:
        return BatchLookupLatestResponse(items=await self._desk.look_up_each(request.requests))
