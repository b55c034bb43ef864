"""Runs a Results service for tests: a real server on a real port, with a clock that the test sets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from hutong.results.internal.v1.internal_lookup_service_pb2_grpc import InternalLookupServiceStub
from hutong.results.v1 import upload_pb2
from hutong.results.v1.document_link_service_pb2_grpc import DocumentLinkServiceStub
from hutong.results.v1.import_service_pb2_grpc import ImportServiceStub
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.missing_report_service_pb2_grpc import MissingReportServiceStub
from hutong.results.v1.results_admin_service_pb2_grpc import ResultsAdminServiceStub
from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.results.v1.timeliness_service_pb2_grpc import TimelinessServiceStub
from hutong.results.v1.upload_service_pb2 import GetUploadRequest, UploadResultsRequest, UploadResultsResponse
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub

from services.results.limits import ResultsLimits
from services.results.main import open_results
from services.results.timing import ResultsTiming
from services.runtime.clock import Clock, FixedClock
from services.runtime.server.server import RunningServer, running
from tests.support.errors import LOST_STATUS
from tests.support.results.factories import LAB_NAME, LABS, NOW, USCC, lab_to_register
from tests.support.servers import settings_for
from tests.support.waiting import TIMEOUT_SECONDS

PATIENT = ResultsTiming(subscribe=TIMEOUT_SECONDS, token_wait=TIMEOUT_SECONDS)
"""Lets a node wait for the nation's answer to a subscription, and for commits of other nodes, as long as tests wait.

On a busy machine an import or a look-up with a token would otherwise fail.
"""


@dataclass(frozen=True, slots=True)
class ResultsNode:
    """One Results service, and stubs on one channel to it. `lab` is the laboratory that uploads to it."""

    server: RunningServer
    clock: FixedClock
    channel: grpc.aio.Channel
    lab: str = LAB_NAME

    @property
    def labs(self) -> LabServiceStub:
        return LabServiceStub(self.channel)

    @property
    def uploads(self) -> UploadServiceStub:
        return UploadServiceStub(self.channel)

    @property
    def results(self) -> ResultsServiceStub:
        return ResultsServiceStub(self.channel)

    @property
    def links(self) -> DocumentLinkServiceStub:
        return DocumentLinkServiceStub(self.channel)

    @property
    def missing_reports(self) -> MissingReportServiceStub:
        return MissingReportServiceStub(self.channel)

    @property
    def imports(self) -> ImportServiceStub:
        return ImportServiceStub(self.channel)

    @property
    def internal_lookup(self) -> InternalLookupServiceStub:
        return InternalLookupServiceStub(self.channel)

    @property
    def admin(self) -> ResultsAdminServiceStub:
        return ResultsAdminServiceStub(self.channel)

    @property
    def timeliness(self) -> TimelinessServiceStub:
        return TimelinessServiceStub(self.channel)

    def of_lab(self, uscc: str) -> ResultsNode:
        """Return the same node, to which another laboratory uploads."""
        return replace(self, lab=f"labs/{uscc}")

    async def register(self) -> None:
        """Register the laboratory that uploads."""
        await self.labs.CreateLab(CreateLabRequest(lab=lab_to_register(self.lab.removeprefix("labs/"))))

    async def send(
        self, frames: Sequence[UploadResultsRequest]
    ) -> tuple[list[UploadResultsResponse], grpc.aio.AioRpcError | None]:
        """Send messages as fast as they are accepted and end the stream.

        Return the answers, and the error that ended the stream or None.
        """
        while True:
            answers: list[UploadResultsResponse] = []
            try:
                async for answer in self.uploads.UploadResults(iter(frames), timeout=TIMEOUT_SECONDS):
                    answers.append(answer)
            except grpc.aio.AioRpcError as error:
                if not answers and error.details() == LOST_STATUS:
                    continue
                return answers, error
            return answers, None

    async def upload(
        self,
        tubes: Sequence[upload_pb2.Tube],
        upload_id: str = "u",
        *,
        offset: int = 0,
        batch: int = 1000,
        validate_only: bool = False,
        items: Sequence[str] = (),
    ) -> list[UploadResultsResponse]:
        """Make one upload that must succeed. Return its answers."""
        frames = [start(upload_id, self.lab, validate_only=validate_only, items=items)]
        frames += [batch_of(tubes[at : at + batch], offset + at) for at in range(0, len(tubes), batch)]
        answers, error = await self.send(frames)
        assert error is None, error
        return answers

    async def upload_state(self, upload_id: str = "u") -> upload_pb2.Upload:
        """Return the answer of GetUpload."""
        response = await self.uploads.GetUpload(GetUploadRequest(name=f"{self.lab}/uploads/{upload_id}"))
        return response.upload


async def ending(call: Any) -> tuple[list[UploadResultsResponse], grpc.aio.AioRpcError]:
    """Return the remaining answers of an upload and the error that ends it. Fail the test if no error does."""
    answers: list[UploadResultsResponse] = []
    try:
        while (answer := await call.read()) != grpc.aio.EOF:
            answers.append(answer)
        await call
    except grpc.aio.AioRpcError as error:
        return answers, error
    raise AssertionError("the upload ended without an error")


def start(
    upload_id: str = "u", lab: str = LAB_NAME, *, validate_only: bool = False, items: Sequence[str] = ()
) -> UploadResultsRequest:
    """Return the first message of an upload."""
    first = upload_pb2.UploadStart(lab=lab, upload_id=upload_id, validate_only=validate_only, items=items)
    return UploadResultsRequest(start=first)


def batch_of(tubes: Sequence[upload_pb2.Tube], offset: int = 0) -> UploadResultsRequest:
    """Return a later message of an upload."""
    return UploadResultsRequest(batch=upload_pb2.TubeBatch(offset=offset, tubes=tubes))


@contextlib.asynccontextmanager
async def results_node(
    directory: Path,
    url: str,
    workers: int = 0,
    clock: Clock | None = None,
    timing: ResultsTiming | None = None,
    limits: ResultsLimits | None = None,
    **variables: str,
) -> AsyncIterator[ResultsNode]:
    """Run a node of Jilin on a database. Without `workers` it validates in a thread. Keywords are further settings."""
    variables = {"jurisdiction": "220000", "drain_seconds": "5", "upload_workers": str(workers)} | variables
    settings = settings_for(directory, results_database_url=url, **variables)
    fixed = FixedClock(NOW)
    timing = timing or PATIENT
    service = await open_results(settings, clock or fixed, timing, limits)
    async with (
        running(service, "127.0.0.1:0", settings, 5.0) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield ResultsNode(server, fixed, channel, f"labs/{LABS.get(variables['jurisdiction'], USCC)}")
