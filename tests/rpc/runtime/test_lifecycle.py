"""The life of a server: it takes its port or refuses, drains what is under way, and stops in time."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong.results.v1.lab_service_pb2 import GetLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_pb2 import UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest, UploadResultsResponse
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub

from services.runtime.configuration.settings import Settings
from services.runtime.configuration.tls import TlsSettings
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.process import serve
from services.runtime.server.server import check_exposure, running, start
from services.runtime.server.service import Service
from tests.support.fake_service import Gate, answer, pretend
from tests.support.hostile.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    frame,
    request_headers,
)
from tests.support.servers import new_channel, settings_for
from tests.support.waiting import TIMEOUT_SECONDS

ANYWHERE = "127.0.0.1:0"
LAB = GetLabRequest(name="labs/1")
START = UploadResultsRequest(start=UploadStart(lab="labs/1", upload_id="day"))


async def test_draining_lets_calls_under_way_end(tmp_path: Path) -> None:
    """Health says NOT_SERVING first, the call is answered, and only then is the service closed."""
    gate = Gate()
    closed_after: list[int] = []

    async def close() -> None:
        closed_after.append(gate.cancelled)

    server = await start(pretend(gate, close=close), ANYWHERE, settings_for(tmp_path))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel, asyncio.timeout(TIMEOUT_SECONDS):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = asyncio.ensure_future(LabServiceStub(channel).GetLab(LAB))
        await gate.reached()
        stopping = asyncio.ensure_future(server.stop(grace=TIMEOUT_SECONDS))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        assert not call.done()
        assert closed_after == []
        gate.open()
        assert (await call).lab.name == "labs/1"
        await stopping
        assert closed_after == [0]
        assert await LabServiceStub(channel).GetLab(LAB, timeout=TIMEOUT_SECONDS).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_watch_that_accepts_no_data_stops_neither_others_nor_the_server(tmp_path: Path) -> None:
    """The first frames of its connection say that its streams take no byte."""
    gate = Gate()
    server = await start(pretend(gate), ANYWHERE, settings_for(tmp_path))
    no_window = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    asks = frame(HEADERS, END_HEADERS, 1, request_headers("/grpc.health.v1.Health/Watch"))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(PREFACE + no_window + asks + frame(DATA, END_STREAM, 1, bytes(5)))
    # The answer to a ping comes after the server has read the frames before it.
    writer.write(frame(PING, 0, 0, b"asked it"))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await reader.readuntil(b"asked it")
        async with new_channel(f"127.0.0.1:{server.port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            # The first one's answers are under way once that of a later call has arrived.
            await stub.Check(health_pb2.HealthCheckRequest())
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            stopping = asyncio.ensure_future(server.stop(grace=0.2))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            await stopping
    writer.close()


async def test_streams_end_when_the_server_drains(tmp_path: Path) -> None:
    """An upload ends by itself after its last acknowledgement, long before the grace is over."""

    async def upload(requests: AsyncIterator[UploadResultsRequest]) -> AsyncIterator[UploadResultsResponse]:
        await anext(requests)
        yield UploadResultsResponse(committed_offset=1)
        await service.drain.wait()
        assert service.drain.begun
        yield UploadResultsResponse(committed_offset=2)

    service = pretend(upload=upload)
    server = await start(service, ANYWHERE, settings_for(tmp_path))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = UploadServiceStub(channel).UploadResults(iter([START]))
        assert (await call.read()).committed_offset == 1
        stopping = asyncio.ensure_future(server.stop(grace=3600))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert (await call.read()).committed_offset == 2
            assert await call.read() is grpc.aio.EOF
            await stopping


async def test_a_call_that_never_ends_does_not_stop_the_stop(tmp_path: Path) -> None:
    """After the grace period the call is cancelled, and the service is closed."""
    gate = Gate()
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    server = await start(pretend(gate, close=close), ANYWHERE, settings_for(tmp_path))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel, asyncio.timeout(TIMEOUT_SECONDS):
        call = LabServiceStub(channel).GetLab(LAB)
        await gate.reached()
        await server.stop(grace=0.1)
        assert closed.is_set()
        assert gate.cancelled == 1
        assert await call.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    """Two servers never share one, which gRPC would let them by default."""
    settings = settings_for(tmp_path)
    async with running(pretend(), ANYWHERE, settings) as first:
        address = f"127.0.0.1:{first.port}"
        with pytest.raises(BadSetting, match=f"cannot listen at {address}"):
            await start(pretend(), address, settings)
        async with grpc.aio.insecure_channel(address) as channel:
            assert (await LabServiceStub(channel).GetLab(LAB)).lab.name == "labs/1"


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "results.example:50051"])
async def test_the_open_net_needs_tls(address: str, tmp_path: Path) -> None:
    """Anything but loopback is refused without a certificate, or to clients without one, before a port is bound."""
    settings = settings_for(tmp_path)
    certified = TlsSettings(certificate_file=tmp_path / "certificate.pem", key_file=tmp_path / "key.pem")
    for tls in (settings.tls, certified):
        with pytest.raises(BadSetting, match="HUTONG_TLS_CLIENT_CA_FILE"):
            await start(pretend(), address, replace(settings, tls=tls))


async def test_loopback_in_plain_text_must_be_asked_for(tmp_path: Path) -> None:
    """The refusal says in one line what to set."""
    settings = replace(settings_for(tmp_path), insecure=False)
    with pytest.raises(BadSetting, match=r"^[^\n]*HUTONG_TLS_CLIENT_CA_FILE[^\n]*HUTONG_INSECURE=1[^\n]*$"):
        await start(pretend(), ANYWHERE, settings)


async def test_when_one_unit_cannot_be_served_all_are_closed(tmp_path: Path) -> None:
    """After an error at the start, no service keeps running."""
    closed: list[str] = []

    async def open_service(settings: Settings) -> Service:
        name = f"service {len(closed) + opened()}"

        async def close() -> None:
            closed.append(name)

        return pretend(answer, close=close)

    count = 0

    def opened() -> int:
        nonlocal count
        count += 1
        return count

    async with running(pretend(), ANYWHERE, settings_for(tmp_path)) as taken:
        settings = settings_for(tmp_path, results_address=f"127.0.0.1:{taken.port}")
        with pytest.raises(BadSetting):
            await serve([open_service], settings)
        assert closed == ["service 1"]


async def test_metrics_are_served_on_loopback_alone(tmp_path: Path) -> None:
    """Metrics are served in plain text. If the port is taken, the error names it."""
    for address in ("0.0.0.0:9464", "metrics.example:9464"):
        with pytest.raises(BadSetting, match="HUTONG_METRICS_ADDRESS must be on loopback"):
            await serve([], settings_for(tmp_path, metrics_address=address))
    async with running(pretend(), ANYWHERE, settings_for(tmp_path)) as taken:
        with pytest.raises(BadSetting, match="HUTONG_METRICS_ADDRESS: cannot listen"):
            await serve([], settings_for(tmp_path, metrics_address=f"127.0.0.1:{taken.port}"))


async def test_a_unix_socket_serves_its_owner_alone(tmp_path: Path) -> None:
    """The socket replaces a port.

    A socket that a killed process has left is taken over; that of a running one is not.
    """
    address = f"unix:{tmp_path / 'results.sock'}"
    settings = settings_for(tmp_path)
    gate = Gate()
    gate.open()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "results.sock"))
    async with running(pretend(gate), address, settings):
        assert (tmp_path / "results.sock").stat().st_mode & 0o777 == 0o600
        async with grpc.aio.insecure_channel(address) as channel:
            assert (await LabServiceStub(channel).GetLab(LAB, timeout=TIMEOUT_SECONDS)).lab.name == "labs/1"
        with pytest.raises(BadSetting, match="another process listens there"):
            await start(pretend(gate), address, settings)
    with pytest.raises(BadSetting, match="its folder does not exist"):
        await start(pretend(gate), f"unix:{tmp_path}/none/results.sock", settings)
    (tmp_path / "file").touch()
    with pytest.raises(BadSetting, match="there is a file"):
        await start(pretend(gate), f"unix:{tmp_path}/file", settings)


def test_a_unix_socket_serves_plain_text_alone(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("certificate_file", "key_file", "client_ca_file")}
    settings = replace(settings_for(tmp_path), tls=TlsSettings(**files))
    with pytest.raises(BadSetting, match="plain text only"):
        check_exposure("unix:/run/results.sock", settings)
