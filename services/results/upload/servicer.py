"""The UploadService. The contract documents each RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hutong.results.v1.upload_service_pb2 import (
    GetUploadRequest,
    GetUploadResponse,
    UploadResultsRequest,
    UploadResultsResponse,
)
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceServicer

from services.domain.names import parse_upload
from services.results.upload.convert import upload_to_proto
from services.results.upload.store import UploadStore
from services.results.upload.stream import UploadReceiver

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class UploadServicer(UploadServiceServicer):
    """Serves UploadService."""

    def __init__(self, store: UploadStore, receiver: UploadReceiver) -> None:
        self._store = store
        self._receiver = receiver

    async def UploadResults(
        self, requests: AsyncIterator[UploadResultsRequest], context: Context
    ) -> AsyncIterator[UploadResultsResponse]:
        async for response in self._receiver.receive(requests):
            yield response

    async def GetUpload(self, request: GetUploadRequest, context: Context) -> GetUploadResponse:
        upload = await self._store.get_upload(*parse_upload(request.name))
        return GetUploadResponse(upload=upload_to_proto(upload))
