"""A database that goes away and comes back, under a server that stays."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong.results.v1.lab_pb2 import Lab
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, GetLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from stdnum.cn import uscc

from services.results.main import open_results
from services.runtime.server.timing import ServerTiming
from tests.support.databases import PostgresServer
from tests.support.errors import error_info, rich_status
from tests.support.servers import serving, settings_for
from tests.support.waiting import TIMEOUT_SECONDS

LAB = Lab(
    name="labs/91410100MA0000001" + uscc.calc_check_digit("91410100MA0000001"), display_name="A lab", region="410100"
)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@contextlib.asynccontextmanager
async def results_on(url: str, directory: Path) -> AsyncIterator[grpc.aio.Channel]:
    """The Results service on a database, and a channel to it."""
    settings = settings_for(directory, results_database_url=url, upload_workers="0")
    unit = await open_results(settings)
    quick = ServerTiming(check=0.05, check_timeout=TIMEOUT_SECONDS)
    async with serving(unit, settings, timing=quick) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


async def assert_unavailable(call: grpc.aio.UnaryUnaryCall[GetLabRequest, object]) -> None:
    """The call ends UNAVAILABLE with its reason and a time to come back."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(error).reason == "DATABASE_UNAVAILABLE"
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in rich_status(error).details)
    assert "psycopg" not in str(error)


async def test_a_database_that_stops_and_comes_back(own_server: PostgresServer, tmp_path: Path) -> None:
    """Reads and writes are UNAVAILABLE with RetryInfo and health says so; all of it ends without a restart of ours."""
    async with results_on(own_server.make("results"), tmp_path) as channel, asyncio.timeout(TIMEOUT_SECONDS):
        labs = LabServiceStub(channel)
        states = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await states.read()).status == SERVING
        await labs.CreateLab(CreateLabRequest(lab=LAB))

        await asyncio.to_thread(own_server.halt)
        assert (await states.read()).status == NOT_SERVING
        await assert_unavailable(labs.GetLab(GetLabRequest(name=LAB.name), timeout=TIMEOUT_SECONDS))
        await assert_unavailable(labs.CreateLab(CreateLabRequest(lab=LAB), timeout=TIMEOUT_SECONDS))

        await asyncio.to_thread(own_server.resume)
        assert (await states.read()).status == SERVING
        assert (await labs.GetLab(GetLabRequest(name=LAB.name), timeout=TIMEOUT_SECONDS)).lab.region == "410100"
        assert (await labs.CreateLab(CreateLabRequest(lab=LAB), timeout=TIMEOUT_SECONDS)).lab.name == LAB.name
