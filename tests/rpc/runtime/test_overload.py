"""A process that has more work than it can do refuses the newest calls, and stays well."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong.results.v1.lab_service_pb2 import GetLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_pb2 import UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from prometheus_client import REGISTRY

from services.runtime.server.load import LIGHT_CALLS
from tests.support.errors import error_info
from tests.support.fake_service import LAB_SERVICE, Gate, answer, pretend
from tests.support.servers import new_channel, serving, settings_for
from tests.support.waiting import TIMEOUT_SECONDS, until

LAB = GetLabRequest(name="labs/1")
START = UploadResultsRequest(start=UploadStart(lab="labs/1", upload_id="day"))
CONNECTIONS = 4


def refused() -> float:
    """The calls of GetLab that were refused."""
    labels = {"grpc_type": "unary", "grpc_service": LAB_SERVICE, "grpc_method": "GetLab"}
    return REGISTRY.get_sample_value("hutong_overload_refusals_total", labels) or 0.0


async def test_the_newest_calls_are_refused_before_any_work(tmp_path: Path) -> None:
    """Health and those under way are answered. When they have ended, calls are admitted again."""
    gate = Gate()
    before = refused()
    async with serving(pretend(gate), settings_for(tmp_path)) as address, contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(new_channel(address)) for _ in range(CONNECTIONS)]
        labs = [LabServiceStub(channel) for channel in channels]
        calls = [
            asyncio.ensure_future(labs[index % CONNECTIONS].GetLab(LAB, timeout=TIMEOUT_SECONDS))
            for index in range(LIGHT_CALLS + 20)
        ]
        await until(lambda: refused() - before == 20)
        await gate.reached(LIGHT_CALLS)
        health: Any = health_pb2_grpc.HealthStub(channels[0])
        checked = await health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        stream = UploadServiceStub(channels[0]).UploadResults(iter([START]), timeout=TIMEOUT_SECONDS)
        assert await stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        gate.open()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        errors = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
        assert {(error.code(), error_info(error).reason) for error in errors} == {
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        }
        assert (len(errors), gate.count) == (20, LIGHT_CALLS)
        assert (await labs[0].GetLab(LAB, timeout=TIMEOUT_SECONDS)).lab.name == "labs/1"


async def test_a_quiet_gate_is_answered_beside_a_flood(tmp_path: Path) -> None:
    """A flood from three connections has all places. Each of twenty calls of a gate on a fourth connection gets one.

    Further calls of the flood are refused.
    """
    gate = Gate()
    before = refused()
    async with serving(pretend(gate), settings_for(tmp_path)) as address, contextlib.AsyncExitStack() as stack:
        flood = [LabServiceStub(await stack.enter_async_context(new_channel(address))) for _ in range(3)]
        quiet = LabServiceStub(await stack.enter_async_context(new_channel(address)))

        def call(labs: Any) -> asyncio.Future[Any]:
            return asyncio.ensure_future(labs.GetLab(LAB, timeout=TIMEOUT_SECONDS))

        flooding = [call(flood[index % 3]) for index in range(LIGHT_CALLS + 50)]
        await until(lambda: refused() - before == 50)
        asking = [call(quiet) for _ in range(20)]
        await gate.reached(LIGHT_CALLS + 20)
        flooding += [call(flood[index % 3]) for index in range(50)]
        await until(lambda: refused() - before == 100)
        gate.open()
        assert [answer.lab.name for answer in await asyncio.gather(*asking)] == ["labs/1"] * 20
        ends = await asyncio.gather(*flooding, return_exceptions=True)
        assert sum(isinstance(end, grpc.aio.AioRpcError) for end in ends) == 100


async def test_calls_beyond_the_limit_of_a_connection_wait_at_the_client(tmp_path: Path) -> None:
    """No call is reset. Calls begin as others end. At that time gRPC counts more calls than the client does."""

    async def call(labs: Any) -> None:
        for _ in range(2):
            await labs.GetLab(LAB, timeout=TIMEOUT_SECONDS)

    async with (
        serving(pretend(answer), settings_for(tmp_path)) as address,
        grpc.aio.insecure_channel(address, [("grpc.enable_retries", 0)]) as channel,
    ):
        labs: Any = LabServiceStub(channel)
        await asyncio.gather(*(call(labs) for _ in range(LIGHT_CALLS)))
