"""Real servers on real ports, in the test's own process or in one of their own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from google.rpc import error_details_pb2, status_pb2

from services.runtime.server.server import running
from services.runtime.server.service import Service
from services.runtime.settings import Settings


def settings_for(directory: Path, *, pepper: bytes = b"p" * 32, **variables: str) -> Settings:
    """Settings of a node whose files live in a directory; keywords are HUTONG_ variables in lower case."""
    pepper_file = directory / "test-pepper"
    pepper_file.write_bytes(pepper)
    environment = {"HUTONG_DATA_DIR": str(directory), "HUTONG_PEPPER_FILE": str(pepper_file)}
    environment |= {f"HUTONG_{name.upper()}": value for name, value in variables.items()}
    return Settings.from_environment(environment)


@contextlib.asynccontextmanager
async def serving(service: Service, settings: Settings, grace: float = 1.0) -> AsyncIterator[str]:
    """Serve a service with all layers on a free port of loopback; yields its address."""
    async with running(service, "127.0.0.1:0", settings, grace) as server:
        yield f"127.0.0.1:{server.port}"


@contextlib.asynccontextmanager
async def channel_to(service: Service, settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    """Serve a service and open a plain channel to it."""
    async with serving(service, settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


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
