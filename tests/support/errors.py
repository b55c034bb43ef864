"""What failing calls tell, as one value to compare."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

Told = tuple[grpc.StatusCode, str, list[str]]
"""Code, reason and the faulty fields, sorted."""


async def told(call: Awaitable[Any]) -> Told:
    """How a call fails; fails the test when it does not."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), error_info(caught.value).reason, sorted(field_violations(caught.value))


def rich_status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The google.rpc.Status that came with a failed call; fails the test when none did."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    raise AssertionError(f"{error.code()} came without details: {error.details()}")


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo of a failed call."""
    for detail in rich_status(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info
    raise AssertionError("no ErrorInfo among the details")


def field_violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Field → reason of a failed call's BadRequest; empty when it has none."""
    for detail in rich_status(error).details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            return {violation.field: violation.reason for violation in bad.field_violations}
    return {}
