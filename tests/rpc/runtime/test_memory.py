"""Calls that fail, are cancelled or break off leave nothing in the process."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong.results.v1.lab_service_pb2 import GetLabRequest, GetLabResponse
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_pb2 import UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub

from services.domain.errors import NotFound
from services.runtime.server.accepting import ACCEPTED_AT_ONCE
from tests.support.fake_service import answer, pretend
from tests.support.servers import channel_to, settings_for
from tests.support.waiting import TIMEOUT_SECONDS, until

KINDS = frozenset({"AbortError", "Call", "NotFound", "RPCState", "Task"})
"""The types of what each call makes at the server: its exceptions, its state in gRPC and here, and its task."""
AT_ONCE = 2 * ACCEPTED_AT_ONCE
"""Calls under way at once. So many let each method have all the tasks that accept calls, which stay."""
START = UploadResultsRequest(start=UploadStart(lab="labs/1", upload_id="day"))


async def get_lab(request: GetLabRequest) -> GetLabResponse:
    """Answer, or fail as a servicer does for an object that does not exist."""
    if request.name == "labs/2":
        raise NotFound.resource(request.name)
    return await answer(request)


async def fail(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await LabServiceStub(channel).GetLab(GetLabRequest(name="labs/2"), timeout=TIMEOUT_SECONDS)


async def send_nonsense(channel: grpc.aio.Channel) -> None:
    call: Any = channel.stream_stream("/hutong.results.v1.UploadService/UploadResults")(timeout=TIMEOUT_SECONDS)
    await call.write(b"\xff")
    await call.code()


async def break_off(channel: grpc.aio.Channel) -> None:
    stream = UploadServiceStub(channel).UploadResults(timeout=TIMEOUT_SECONDS)
    await stream.write(START)
    await stream.read()
    stream.cancel()


async def stop_watching(channel: grpc.aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    await watch.read()
    watch.cancel()


async def call_no_method(channel: grpc.aio.Channel) -> None:
    call: Any = channel.unary_unary("/no.Service/Method")
    with pytest.raises(grpc.aio.AioRpcError):
        await call(b"", timeout=TIMEOUT_SECONDS)


def count_objects(*, collects: bool) -> Counter[str]:
    """Count the objects of KINDS, without garbage if `collects` is set."""
    if collects:
        gc.collect()
    return Counter(name for one in gc.get_objects() if (name := type(one).__name__) in KINDS)


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Let garbage be collected only where a test says so."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("way", "collects"),
    [
        (fail, False),
        (call_no_method, False),
        # gRPC's reader of a stream and its generator refer to each other, so a collection is needed.
        (send_nonsense, True),
        (break_off, True),
        (stop_watching, True),
    ],
)
@pytest.mark.usefixtures("no_collections")
async def test_ended_calls_leave_no_objects(
    way: Callable[[grpc.aio.Channel], Awaitable[None]], collects: bool, tmp_path: Path
) -> None:
    """After the first calls, further ones leave as many objects as there were."""
    async with channel_to(pretend(get_lab), settings_for(tmp_path)) as channel:

        async def call_often(times: int) -> None:
            for _ in range(times):
                await asyncio.gather(*(way(channel) for _ in range(AT_ONCE)))

        await call_often(2)
        before: Counter[str] = Counter()

        def has_settled() -> bool:
            nonlocal before
            earlier, before = before, count_objects(collects=collects)
            return before == earlier

        await until(has_settled)
        await call_often(4)
        # An object that each call left would be here 512 times. Tasks that are just ending are few.
        await until(
            lambda: all(
                count <= before[kind] + AT_ONCE // 4 for kind, count in count_objects(collects=collects).items()
            )
        )
