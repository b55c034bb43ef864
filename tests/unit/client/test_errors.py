"""Failed calls become exceptions that know what the service said."""

from __future__ import annotations

import copy
import pickle
import uuid
from datetime import timedelta

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hutong.error.v1.error_reason_pb2 import ErrorReason
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
    reasons,
)
from hutong_client.errors import Details, TlsFault
from hutong_client.errors.tls import describe_tls_fault

from tests.support.client.fake_uploads import FakeUploads, failure, serving


def test_details_come_along() -> None:
    """Reason, metadata, fields and delay."""
    status = failure(code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", retry_seconds=1.5, metadata={"field": "region"})
    violation = error_details_pb2.BadRequest.FieldViolation(
        field="region", reason="REGION_UNKNOWN", description="is not a region"
    )
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    error = from_status(status)
    assert isinstance(error, InvalidArgument)
    assert isinstance(error, reasons.InvalidField)
    assert (error.reason, error.message, dict(error.metadata)) == (
        "INVALID_FIELD",
        "it is invalid_field",
        {"field": "region"},
    )
    assert error.retry_delay == timedelta(seconds=1.5)
    assert error.field_violations == (errors.FieldViolation("region", "REGION_UNKNOWN", "is not a region"),)


async def test_asyncio_error_is_mapped_like_the_synchronous_one() -> None:
    """The asyncio error has the same code, reason and retry delay."""
    fake = FakeUploads(before_commit=lambda _: failure(code_pb2.UNAVAILABLE, "DATABASE_UNAVAILABLE", retry_seconds=2))
    with serving(fake) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            frames = [UploadResultsRequest(start=UploadStart()), UploadResultsRequest(batch=TubeBatch())]
            call = UploadServiceStub(channel).UploadResults(iter(frames))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call.read()
    error = from_rpc_error(raised.value)
    assert isinstance(error, Unavailable)
    assert isinstance(error, reasons.DatabaseUnavailable)
    assert error.reason == "DATABASE_UNAVAILABLE"
    assert error.retry_delay == timedelta(seconds=2)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_is_some_error(code: grpc.StatusCode) -> None:
    """A code with a reason gives the exception of the reason. Every code gives some exception."""
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


@pytest.mark.parametrize(
    "reason", [name for name in ErrorReason.DESCRIPTOR.values_by_name if name != "ERROR_REASON_UNSPECIFIED"]
)
def test_each_reason_has_an_exception_of_its_own(reason: str) -> None:
    """Each exception is caught by its reason and by its code, and keeps its details in a copy and in a pickle."""
    name = reason.removeprefix("ERROR_REASON_")
    kind = reasons.BY_REASON.get(name) or getattr(errors, "".join(map(str.capitalize, name.split("_"))))
    for code in (code_pb2.UNAVAILABLE, code_pb2.INTERNAL) if name != "INTERNAL" else (code_pb2.INTERNAL,):
        error = from_status(failure(code, name, retry_seconds=1))
        assert error.code.value[0] == code
        if name in reasons.BY_REASON:
            assert isinstance(error, kind)
            assert type(error).__name__ == kind.__name__
        for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert (type(again), str(again), again.details) == (type(error), str(error), error.details)


def test_text_has_reason_and_request_id() -> None:
    """The id under which the services log the call."""
    assert str(errors.OutOfRange("is too old", Details("CURSOR_TOO_OLD", request_id="gate-7"))) == (
        "is too old (CURSOR_TOO_OLD), request gate-7"
    )
    assert str(errors.Unavailable("is away")) == "is away"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Tls handshake failed: SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: certificate has expired", "has expired"),
        ("Tls handshake failed: SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: unable to get", "trusted authority"),
        ("Custom verification check failed: Hostname Verification Check failed.", "another name"),
        ("Tls handshake failed: SSL_ERROR_SSL: WRONG_VERSION_NUMBER", "does not speak TLS"),
        ("Failed to create security handshaker.", "cannot be used"),
        ("Tls handshake failed: something new", "handshake with the server failed"),
        ("Failed to connect to remote host: Connection refused", ""),
    ],
)
def test_tls_faults_are_told_apart(text: str, words: str) -> None:
    """The faults are told apart by gRPC's own text. tests/rpc/client/test_tls.py has some of real servers."""
    told = describe_tls_fault(text)
    assert words in told
    assert told.endswith(f"({text})") or not words
    status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message=text)
    error = from_status(status)
    assert isinstance(error, TlsFault) is bool(words)
    assert error.can_be_retried is not bool(words)


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
    assert caught.value.request_id in str(caught.value)
    assert uuid.UUID(caught.value.request_id)
    with connect(results=address) as node, pytest.raises(Unavailable):
        node.uploads.GetUpload(request, timeout=5)
