"""A small upload service in the test's own process, on a real port, with failures that a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from hutong.results.v1.upload_pb2 import FieldViolation, Rejection, TubeBatch, Upload
from hutong.results.v1.upload_service_pb2 import (
    GetUploadRequest,
    GetUploadResponse,
    UploadResultsRequest,
    UploadResultsResponse,
)
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceServicer, add_UploadServiceServicer_to_server

from tests.support.client.fake_server import serving_fake

REJECTED = "REJECT"
"""Tubes whose code begins with this are rejected."""


def failure(
    code: int, reason: str, *, retry_seconds: float | None = None, metadata: dict[str, str] | None = None
) -> status_pb2.Status:
    """Return a status as the services make it."""
    status = status_pb2.Status(code=code, message=f"it is {reason.lower()}")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="hutong.org", metadata=metadata or {}))
    if retry_seconds is not None:
        delay = Duration(nanos=round(retry_seconds * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


UNAVAILABLE = failure(code_pb2.UNAVAILABLE, "DATABASE_UNAVAILABLE")


@dataclass
class FakeUploads(UploadServiceServicer):
    """Keeps one upload in memory by the contract's rules.

    Attributes:
        before_commit: called with the number of the batch, counted over all streams, before the commit. A returned
            status ends the stream.
        before_answer: the same, between the commit and the acknowledgement.
        at_end: a status that ends each stream when all its frames are read.
    """

    before_commit: Callable[[int], status_pb2.Status | None] = lambda _: None
    before_answer: Callable[[int], status_pb2.Status | None] = lambda _: None
    at_end: status_pb2.Status | None = None
    tubes: list[str] = field(default_factory=list)
    streams: int = 0
    batches: int = 0
    largest_wait: int = 0

    def UploadResults(
        self, requests: Iterator[UploadResultsRequest], context: grpc.ServicerContext
    ) -> Iterator[UploadResultsResponse]:
        self.streams += 1
        assert next(requests).WhichOneof("frame") == "start"
        for request in requests:
            batch = request.batch
            self.batches += 1
            self._fail_if_chosen(self.before_commit, context)
            replayed = batch.offset + len(batch.tubes) <= len(self.tubes)
            if batch.offset > len(self.tubes):
                gap = failure(code_pb2.OUT_OF_RANGE, "UPLOAD_GAP", metadata={"committed_offset": str(len(self.tubes))})
                context.abort_with_status(rpc_status.to_status(gap))
            self.tubes += [tube.tube_code for tube in batch.tubes][len(self.tubes) - batch.offset :]
            self._fail_if_chosen(self.before_answer, context)
            yield self._acknowledge(batch, replayed)
        if self.at_end:
            context.abort_with_status(rpc_status.to_status(self.at_end))

    def GetUpload(self, request: GetUploadRequest, context: grpc.ServicerContext) -> GetUploadResponse:
        if not self.tubes:
            context.abort_with_status(rpc_status.to_status(failure(code_pb2.NOT_FOUND, "NOT_FOUND")))
        rejected = sum(code.startswith(REJECTED) for code in self.tubes)
        upload = Upload(
            name=request.name,
            committed_offset=len(self.tubes),
            accepted_count=len(self.tubes) - rejected,
            rejected_count=rejected,
        )
        return GetUploadResponse(upload=upload)

    def _acknowledge(self, batch: TubeBatch, replayed: bool) -> UploadResultsResponse:
        rejections = [
            Rejection(
                tube_index=index,
                person_index=0,
                violations=[
                    FieldViolation(field="report_time", reason="TIMES_OUT_OF_ORDER", description="is too early")
                ],
            )
            for index, tube in enumerate(batch.tubes)
            if tube.tube_code.startswith(REJECTED)
        ]
        good = len(batch.tubes) - len(rejections)
        return UploadResultsResponse(
            committed_offset=len(self.tubes),
            accepted_count=0 if replayed else good,
            duplicate_count=good if replayed else 0,
            rejected_count=len(rejections),
            rejections=rejections,
        )

    def _fail_if_chosen(self, choose: Callable[[int], status_pb2.Status | None], context: grpc.ServicerContext) -> None:
        status = choose(self.batches)
        if status:
            context.abort_with_status(rpc_status.to_status(status))


def at_batches(status: status_pb2.Status, *numbers: int) -> Callable[[int], status_pb2.Status | None]:
    """Return a function that fails at these batches only."""
    return lambda number: status if number in numbers else None


def serving(servicer: UploadServiceServicer) -> AbstractContextManager[str]:
    """Serve on a free port of loopback until the block ends. The context is the address."""
    return serving_fake(partial(add_UploadServiceServicer_to_server, servicer))
