"""A service around two generated services whose methods a test supplies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from hutong.results.v1.lab_service_pb2 import GetLabRequest, GetLabResponse
from hutong.results.v1.lab_service_pb2_grpc import LabServiceServicer, add_LabServiceServicer_to_server
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest, UploadResultsResponse
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceServicer, add_UploadServiceServicer_to_server

from services.runtime.server.service import Registration, Service

LAB_SERVICE = "hutong.results.v1.LabService"
UPLOAD_SERVICE = "hutong.results.v1.UploadService"
GET_LAB = f"/{LAB_SERVICE}/GetLab"
UPLOAD_RESULTS = f"/{UPLOAD_SERVICE}/UploadResults"

GetLab = Callable[[GetLabRequest], Awaitable[GetLabResponse]]
UploadResults = Callable[[AsyncIterator[UploadResultsRequest]], AsyncIterator[UploadResultsResponse]]


async def answer(request: GetLabRequest) -> GetLabResponse:
    """Answer with the laboratory of the request."""
    response = GetLabResponse()
    response.lab.name = request.name
    return response


async def acknowledge(requests: AsyncIterator[UploadResultsRequest]) -> AsyncIterator[UploadResultsResponse]:
    """Acknowledge each message with its number."""
    count = 0
    async for _ in requests:
        count += 1
        yield UploadResultsResponse(committed_offset=count)


async def nothing() -> None:
    """Do nothing. As a check it means that the service is healthy."""


class _Labs(LabServiceServicer):
    def __init__(self, get_lab: GetLab) -> None:
        self._get_lab = get_lab

    async def GetLab(self, request: GetLabRequest, _context: Any) -> GetLabResponse:  # type: ignore[override]
        return await self._get_lab(request)


class _Uploads(UploadServiceServicer):
    def __init__(self, upload: UploadResults) -> None:
        self._upload = upload

    async def UploadResults(  # type: ignore[override]
        self, request_iterator: AsyncIterator[UploadResultsRequest], _context: Any
    ) -> AsyncIterator[UploadResultsResponse]:
        async for response in self._upload(request_iterator):
            yield response


def pretend(
    get_lab: GetLab = answer,
    upload: UploadResults = acknowledge,
    *,
    check: Callable[[], Awaitable[None]] = nothing,
    close: Callable[[], Awaitable[None]] = nothing,
) -> Service:
    """Return a service that serves GetLab and UploadResults, and no other method of their services."""
    return Service(
        name="results",
        registrations=(
            Registration(LAB_SERVICE, add_LabServiceServicer_to_server, _Labs(get_lab)),
            Registration(UPLOAD_SERVICE, add_UploadServiceServicer_to_server, _Uploads(upload)),
        ),
        check=check,
        close=close,
    )


class Gate:
    """A GetLab that counts its calls and answers none before it is opened."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._arrived = asyncio.Condition()
        self.count = 0
        self.cancelled = 0

    async def __call__(self, request: GetLabRequest) -> GetLabResponse:
        """Answer a call when the gate is open."""
        async with self._arrived:
            self.count += 1
            self._arrived.notify_all()
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await answer(request)

    async def reached(self, count: int = 1) -> None:
        """Wait until `count` calls have arrived."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self.count >= count)

    def open(self) -> None:
        """Answer all waiting calls, and every later one at once."""
        self._open.set()
