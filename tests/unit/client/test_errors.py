"""Failed calls become exceptions that know what the service said."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hutong.results.v1 import upload_service_pb2
from hutong.results.v1.upload_pb2 import TubeBatch, UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from hutong_client import (
    ConnectionCut,
    HutongError,
    InvalidArgument,
    Unavailable,
    connect,
    errors,
    from_rpc_error,
    from_status,
)

from tests.support.client.fake_uploads import FakeUploads, failure, serving


def test_details_come_along() -> None:
    """Reason, metadata, fields and delay."""
    status = failure(code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", retry_seconds=1.5, metadata={"field": "region"})
    violation = error_details_pb2.BadRequest.FieldViolation(
        field="region", reason="REGION_UNKNOWN", description="is not a region"
    )
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    error = from_status(status)
    assert type(error) is InvalidArgument
    assert (error.reason, error.message, dict(error.metadata)) == (
        "INVALID_FIELD",
        "it is invalid_field",
        {"field": "region"},
    )
    assert error.retry_delay == timedelta(seconds=1.5)
    assert error.field_violations == (errors.FieldViolation("region", "REGION_UNKNOWN", "is not a region"),)


async def test_asyncio_error_is_mapped_like_the_synchronous_one() -> None:
    """With its code, reason and retry delay."""
    fake = FakeUploads(before_commit=lambda _: failure(code_pb2.UNAVAILABLE, "DATABASE_UNAVAILABLE", retry_seconds=2))
    with serving(fake) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            frames = [UploadResultsRequest(start=UploadStart()), UploadResultsRequest(batch=TubeBatch())]
            call = UploadServiceStub(channel).UploadResults(iter(frames))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call.read()
    error = from_rpc_error(raised.value)
    assert type(error) is Unavailable
    assert error.reason == "DATABASE_UNAVAILABLE"
    assert error.retry_delay == timedelta(seconds=2)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_is_some_error(code: grpc.StatusCode) -> None:
    """With a reason its own kind; nothing falls through."""
    error = from_status(failure(code.value[0], "SOMETHING"))
    assert isinstance(error, HutongError)
    assert error.reason == "SOMETHING"
    assert error.code in (code, grpc.StatusCode.UNKNOWN)


@pytest.mark.parametrize("code", [code_pb2.UNKNOWN, code_pb2.INTERNAL, code_pb2.CANCELLED])
def test_end_without_a_reason_is_a_cut_connection(code: int) -> None:
    """No Hutong service answers so: something between broke, and a retry can help."""
    error = from_status(status_pb2.Status(code=code))
    assert isinstance(error, ConnectionCut)
    assert error.can_be_retried
    assert not from_status(failure(code_pb2.INTERNAL, "INTERNAL")).can_be_retried


def test_too_large_message_is_not_tried_again() -> None:
    """RESOURCE_EXHAUSTED means two things; only a service's own passes."""
    assert not from_status(status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED)).can_be_retried
    assert from_status(failure(code_pb2.RESOURCE_EXHAUSTED, "OVERLOADED")).can_be_retried


def test_foreign_reason_is_not_taken_for_ours() -> None:
    """An ErrorInfo of another domain, as of a proxy."""
    status = status_pb2.Status(code=code_pb2.UNAVAILABLE)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="THROTTLED", domain="proxy.example"))
    assert from_status(status).reason == ""


def test_calls_raise_them() -> None:
    """A unary call over a connection, answered by a failure and by no server."""
    request = upload_service_pb2.GetUploadRequest(name="labs/x/uploads/y")
    with serving(FakeUploads()) as address, connect(results=address) as node, pytest.raises(errors.NotFound) as caught:
        node.uploads.GetUpload(request, timeout=5)
    assert caught.value.reason == "NOT_FOUND"
    with connect(results=address) as node, pytest.raises(Unavailable):
        node.uploads.GetUpload(request, timeout=5)
