"""Reads the details of failed calls."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

Detail = TypeVar("Detail", bound=Message)
LOST_STATUS = "Internal error from Core"
"""Statuses that grpc.aio reports in place of the server's status, because it wrote to a stream that was already
refused."""
Failure = tuple[grpc.StatusCode, str, list[str]]
"""The code, the reason and the sorted faulty fields of a failed call."""


async def failure_of(call: Awaitable[Any]) -> Failure:
    """Return how a call fails. Fail the test if the call succeeds."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_info(caught.value).reason, sorted(field_violations(caught.value))


def rich_status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """Return the google.rpc.Status of a failed call. Fail the test if the call has none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    raise AssertionError(f"{error.code()} has no details: {error.details()}")


def detail_of(status: status_pb2.Status, kind: type[Detail]) -> Detail:
    """Return the detail of a kind. Fail the test if the status has none."""
    found = kind()
    assert any(one.Unpack(found) for one in status.details)
    return found


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo of a failed call."""
    return detail_of(rich_status(error), error_details_pb2.ErrorInfo)


def field_violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Return the fields of a failed call's BadRequest with their reasons; empty if it has none."""
    for detail in rich_status(error).details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            return {violation.field: violation.reason for violation in bad.field_violations}
    return {}
