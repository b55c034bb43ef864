"""Operators see metrics and health, also while the event loop is busy."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong.results.v1.lab_service_pb2 import GetLabRequest, GetLabResponse
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong_texts import english

from services.domain.errors import Unavailable
from services.runtime.server.health.checks import HealthReport
from services.runtime.server.operators_port import STALE_SECONDS, OperatorsPort
from services.runtime.server.server import running
from tests.support.fake_service import answer, pretend
from tests.support.servers import serving, settings_for
from tests.support.waiting import TIMEOUT_SECONDS

LAB = GetLabRequest(name="labs/1")
CALLS = 100
"""Fewer than the server always admits."""


@pytest.fixture
def port() -> Iterator[OperatorsPort]:
    """The port of a process with one service."""
    opened = OperatorsPort("127.0.0.1:0", services=1)
    yield opened
    opened.close()


def fetch(port: OperatorsPort, path: str) -> tuple[int, bytes]:
    """The status and the body of an HTTP answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("report", "healthy"),
    [
        (None, False),
        (HealthReport(serving=True, age_seconds=0.3), True),
        (HealthReport(serving=False, age_seconds=0.3), False),
        (HealthReport(serving=True, age_seconds=STALE_SECONDS), False),
    ],
    ids=["starting", "healthy", "not serving", "stale"],
)
def test_health_over_http(port: OperatorsPort, report: HealthReport | None, healthy: bool) -> None:
    """The answer is 200 only if every service of the process has passed a check recently."""
    if report is not None:
        port.add("results", lambda: report)
    status, body = fetch(port, "/healthz")
    assert status == (200 if healthy else 503)
    described = {"serving": healthy, "checked_seconds_ago": round(report.age_seconds, 1)} if report else None
    assert json.loads(body).get("results") == described


async def test_health_over_http_follows_checks_and_drain(tmp_path: Path) -> None:
    fails = False

    async def check() -> None:
        if fails:
            raise Unavailable("DATABASE_UNAVAILABLE", english("gone"))

    async with running(pretend(check=check), "127.0.0.1:0", settings_for(tmp_path)) as server:
        assert server.health().serving
        fails = True
        await server._health.check_once()  # noqa: SLF001 - in place of a second's wait
        assert not server.health().serving
        fails = False
        await server._health.check_once()  # noqa: SLF001
        assert server.health().serving
    assert not server.health().serving


async def test_operators_are_answered_while_the_event_loop_is_held(tmp_path: Path, port: OperatorsPort) -> None:
    answered = threading.Event()
    held = threading.Event()

    async def hold(request: GetLabRequest) -> GetLabResponse:
        held.set()
        assert answered.wait(TIMEOUT_SECONDS), "the operators' port did not answer"
        return await answer(request)

    def ask() -> tuple[int, bytes]:
        assert held.wait(TIMEOUT_SECONDS)
        try:
            status, _ = fetch(port, "/healthz")
            return status, fetch(port, "/metrics")[1]
        finally:
            answered.set()

    async with running(pretend(hold), "127.0.0.1:0", settings_for(tmp_path)) as server:
        port.add("results", server.health)
        with ThreadPoolExecutor(1) as threads:
            asked = asyncio.get_running_loop().run_in_executor(threads, ask)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                await LabServiceStub(channel).GetLab(LAB, timeout=TIMEOUT_SECONDS)
            status, metrics = await asked
    assert status == 200
    assert b"grpc_server_started_total" in metrics


async def test_a_health_check_overtakes_calls_that_wait_inside_grpc(tmp_path: Path) -> None:
    """All of the waiting calls came before the health check on the same connection."""
    begun = 0
    are_sent = threading.Event()

    async def work(request: GetLabRequest) -> GetLabResponse:
        nonlocal begun
        begun += 1
        if begun == 2:
            assert are_sent.wait(TIMEOUT_SECONDS)
        hashlib.pbkdf2_hmac("sha256", b"load", b"load", 1_500)
        return await answer(request)

    def load(address: str) -> int:
        with grpc.insecure_channel(address) as channel:
            labs = LabServiceStub(channel)
            labs.GetLab(LAB, timeout=TIMEOUT_SECONDS)
            calls = [labs.GetLab.future(LAB, timeout=TIMEOUT_SECONDS) for _ in range(CALLS)]
            health: Any = health_pb2_grpc.HealthStub(channel)
            check = health.Check.future(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
            are_sent.set()
            assert check.result().status == health_pb2.HealthCheckResponse.SERVING
            seen = begun
            for call in calls:
                call.result()
            return seen

    async with serving(pretend(work), settings_for(tmp_path)) as address:
        seen = await asyncio.to_thread(load, address)
    # The event loop was held in the first of them until all were sent. A check takes a few iterations of the loop.
    assert seen < CALLS, "the check waited behind the other calls"
