"""The data that operators see of a server: the access log, metrics, health and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hutong.results.v1.lab_service_pb2 import GetLabRequest, GetLabResponse
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_pb2 import UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest, UploadResultsResponse
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.domain.errors import NotFound
from services.runtime.server.timing import ServerTiming
from tests.support.fake_service import GET_LAB, LAB_SERVICE, UPLOAD_RESULTS, UPLOAD_SERVICE, Gate, answer, pretend
from tests.support.servers import channel_to, settings_for
from tests.support.waiting import TIMEOUT_SECONDS, until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
START = UploadResultsRequest(start=UploadStart(lab="labs/1", upload_id="day"))


def accesses(logs: list[Any]) -> list[dict[str, Any]]:
    """The access log's lines."""
    return [line for line in logs if line["event"] == "call"]


def counted(name: str, **labels: str) -> float:
    """A metric's value."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_the_access_log_has_one_line_a_call(tmp_path: Path) -> None:
    """With method, code, reason, duration and request id; never a field of a request."""

    async def get_lab(request: GetLabRequest) -> GetLabResponse:
        if request.name == "labs/Zhang-lost":
            raise NotFound.resource(request.name)
        if request.name == "labs/Zhang-broken":
            raise RuntimeError
        return await answer(request)

    with capture_logs() as logs:
        async with channel_to(pretend(get_lab), settings_for(tmp_path)) as channel:
            stub = LabServiceStub(channel)
            for name in ("labs/Zhang", "labs/Zhang-lost", "labs/Zhang-broken", ""):
                call = stub.GetLab(GetLabRequest(name=name), metadata=(("x-request-id", f"id-{name[5:]}"),))
                await asyncio.wait([asyncio.ensure_future(call.code())])
            upload = UploadServiceStub(channel).UploadResults(iter([START, START]))
            assert [response.committed_offset async for response in upload] == [1, 2]
    lines = accesses(logs)
    assert [(line["method"], line["code"], line.get("reason")) for line in lines] == [
        (GET_LAB, "OK", None),
        (GET_LAB, "NOT_FOUND", "NOT_FOUND"),
        (GET_LAB, "INTERNAL", "INTERNAL"),
        (GET_LAB, "INVALID_ARGUMENT", "INVALID_FIELD"),
        (UPLOAD_RESULTS, "OK", None),
    ]
    assert [line["request_id"] for line in lines[:3]] == ["id-Zhang", "id-Zhang-lost", "id-Zhang-broken"]
    assert all(line["ms"] >= 0 for line in lines)
    assert lines[-1]["responses"] == 2
    allowed = {
        "event",
        "log_level",
        "method",
        "code",
        "reason",
        "ms",
        "request_id",
        "responses",
        "caller",
        "role",
        "peer",
    }
    assert set().union(*lines) <= allowed


LOCAL = {"role": "local"}


def labels(method: str) -> dict[str, str]:
    """How a method's series are labelled."""
    _, service, name = method.split("/")
    shape = "bidi_stream" if method == UPLOAD_RESULTS else "unary"
    return {"grpc_type": shape, "grpc_service": service, "grpc_method": name}


def handled(method: str, code: str) -> float:
    return counted("grpc_server_handled_total", **labels(method), **LOCAL, grpc_code=code)


def in_flight(method: str) -> float:
    """Calls that have begun and not ended."""
    ended = sum(
        sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "grpc_server_handled_total" and (labels(method) | LOCAL).items() <= sample.labels.items()
    )
    return counted("grpc_server_started_total", **labels(method), **LOCAL) - ended


async def test_a_call_that_its_caller_cancels_is_logged_and_counted(tmp_path: Path) -> None:
    """Unary and stream, each once, as CANCELLED; and nothing stays in flight."""
    gate = Gate()

    async def endless(requests: AsyncIterator[UploadResultsRequest]) -> AsyncIterator[UploadResultsResponse]:
        async for _ in requests:
            while True:
                yield UploadResultsResponse(committed_offset=1)

    before = [handled(method, "Canceled") for method in (GET_LAB, UPLOAD_RESULTS)]
    with capture_logs() as logs:
        async with channel_to(pretend(gate, endless), settings_for(tmp_path)) as channel:
            unary = LabServiceStub(channel).GetLab(GetLabRequest(name="labs/1"))
            await gate.reached()
            unary.cancel()
            stream = UploadServiceStub(channel).UploadResults(iter([START]))
            assert (await stream.read()).committed_offset == 1
            stream.cancel()
            await until(lambda: len(accesses(logs)) == 2)
    assert [(line["method"], line["code"]) for line in accesses(logs)] == [
        (GET_LAB, "CANCELLED"),
        (UPLOAD_RESULTS, "CANCELLED"),
    ]
    after = [handled(method, "Canceled") for method in (GET_LAB, UPLOAD_RESULTS)]
    assert after == [count + 1 for count in before]
    assert in_flight(GET_LAB) == 0
    assert in_flight(UPLOAD_RESULTS) == 0


async def test_calls_are_counted_by_method_and_code(tmp_path: Path) -> None:
    """Calls are timed too. Calls under way are visible while they last."""
    gate = Gate()
    before = handled(GET_LAB, "OK"), handled(GET_LAB, "InvalidArgument")
    timed = counted("grpc_server_handling_seconds_count", **labels(GET_LAB))
    async with channel_to(pretend(gate), settings_for(tmp_path)) as channel:
        stub = LabServiceStub(channel)
        calls = [asyncio.ensure_future(stub.GetLab(GetLabRequest(name="labs/1"))) for _ in range(3)]
        await gate.reached(3)
        assert in_flight(GET_LAB) == 3
        gate.open()
        await asyncio.gather(*calls)
        assert await stub.GetLab(GetLabRequest()).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert handled(GET_LAB, "OK") == before[0] + 3
    assert handled(GET_LAB, "InvalidArgument") == before[1] + 1
    assert counted("grpc_server_handling_seconds_count", **labels(GET_LAB)) == timed + 4
    assert in_flight(GET_LAB) == 0


async def test_names_that_callers_make_up_make_no_metrics(tmp_path: Path) -> None:
    """All calls of unknown methods share one series."""

    def unimplemented() -> float:
        made_up = {"grpc_type": "bidi_stream", "grpc_service": "(not served)", "grpc_method": "(not served)"}
        return counted("grpc_server_handled_total", **made_up, **LOCAL, grpc_code="Unimplemented")

    before = unimplemented()
    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        for number in range(5):
            call = channel.unary_unary(f"/made.up.Service/Number{number}")
            assert await call(b"").code() is grpc.StatusCode.UNIMPLEMENTED
    assert unimplemented() == before + 5
    series = [sample.labels.get("grpc_service", "") for family in REGISTRY.collect() for sample in family.samples]
    assert not [method for method in series if "made.up" in method]


class Check:
    """A health check whose outcome the test sets."""

    def __init__(self, *, well: bool) -> None:
        self.well = well

    async def __call__(self) -> None:
        """Fail when not well."""
        if not self.well:
            raise ConnectionError("the database's address and password")


async def watch(channel: grpc.aio.Channel, service: str) -> AsyncIterator[int]:
    """Yield the states of a service as grpc.health.v1 Watch sends them."""
    async for response in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service)):
        yield response.status


async def status_of(channel: grpc.aio.Channel, service: str) -> int:
    """Return the state of a service as grpc.health.v1 Check returns it."""
    stub = health_pb2_grpc.HealthStub(channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=service))).status)


async def test_health_follows_the_check(tmp_path: Path) -> None:
    """NOT_SERVING before the check has passed, SERVING after, NOT_SERVING when it fails, SERVING once it recovers."""
    check = Check(well=False)
    quick = ServerTiming(check=0.01)
    async with (
        channel_to(pretend(check=check), settings_for(tmp_path), quick) as channel,
        asyncio.timeout(TIMEOUT_SECONDS),
    ):
        for service in ("", LAB_SERVICE, UPLOAD_SERVICE):
            assert await status_of(channel, service) == NOT_SERVING
        states = watch(channel, LAB_SERVICE)
        assert await anext(states) == NOT_SERVING
        for well, state in ((True, SERVING), (False, NOT_SERVING), (True, SERVING)):
            check.well = well
            assert await anext(states) == state
            assert await status_of(channel, LAB_SERVICE) == state


async def test_a_check_that_hangs_has_failed(tmp_path: Path) -> None:
    """A database that takes connections and never answers is not healthy."""

    async def hang() -> None:
        await asyncio.Event().wait()

    async with channel_to(
        pretend(check=hang), settings_for(tmp_path), ServerTiming(check=0.01, check_timeout=0.05)
    ) as channel:
        assert await status_of(channel, LAB_SERVICE) == NOT_SERVING


async def test_a_failing_check_is_logged_once_and_by_kind_alone(tmp_path: Path) -> None:
    """An outage fills no log, and its exception's text may hold a password."""
    count = 0

    async def check() -> None:
        nonlocal count
        count += 1
        raise ConnectionError("postgresql://hutong:password@db")

    with capture_logs() as logs:
        async with channel_to(pretend(check=check), settings_for(tmp_path), ServerTiming(check=0.001)):
            await until(lambda: count > 5)
    assert [line["error"] for line in logs if line["event"] == "not healthy"] == ["ConnectionError"]
    assert "password" not in str(logs)


async def test_an_unknown_service_has_no_health(tmp_path: Path) -> None:
    """NOT_FOUND, as the health protocol says."""
    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await status_of(channel, "hutong.policy.v1.PolicyService")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_what_is_served_and_no_more(tmp_path: Path) -> None:
    """The service's gRPC services and the runtime's own three, with their descriptors; grpcurl needs nothing else."""
    request = reflection_pb2.ServerReflectionRequest
    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(
            iter([request(list_services=""), request(file_containing_symbol=LAB_SERVICE)])
        )
        listed = await answers.read()
        assert sorted(service.name for service in listed.list_services_response.service) == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            LAB_SERVICE,
            UPLOAD_SERVICE,
        ]
        described = await answers.read()
        assert any(b"LabService" in file for file in described.file_descriptor_response.file_descriptor_proto)


async def test_reflection_resolves_methods_and_errors_in_both_versions(tmp_path: Path) -> None:
    """By both spellings of a method, and v1 itself."""
    request, answer = reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse
    symbols = [
        f"{LAB_SERVICE}/GetLab",
        f"{LAB_SERVICE}.GetLab",
        "hutong.error.v1.ErrorReason",
        "google.rpc.RetryInfo",
        "grpc.reflection.v1.ServerReflection",
    ]
    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        for version in ("v1", "v1alpha"):
            ask = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request.SerializeToString,
                answer.FromString,
            )
            asked = [request(file_containing_symbol=symbol) for symbol in [*symbols, f"{LAB_SERVICE}.Nothing"]]
            *found, missing = [each async for each in ask(iter(asked))]
            assert [bool(each.file_descriptor_response.file_descriptor_proto) for each in found] == [True] * 5
            assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
