"""Whatever goes wrong in a call, its caller gets a precise status and the server stays well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from hutong.results.v1.lab_service_pb2 import GetLabRequest, GetLabResponse, ListLabsRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from hutong.results.v1.upload_pb2 import UploadStart
from hutong.results.v1.upload_service_pb2 import UploadResultsRequest, UploadResultsResponse
from hutong.results.v1.upload_service_pb2_grpc import UploadServiceStub
from hutong_texts import english

from services.domain.errors import FailedPrecondition, InvalidArgument, OutOfRange, Unavailable, Violation
from services.domain.instant import HOUR, SECOND, Span
from services.runtime.limits import MAX_MESSAGE_BYTES
from services.runtime.server.interceptors.decoding import MAX_RECEIVED_BYTES
from services.runtime.server.status import INTERNAL_TEXT, MAX_DETAIL_BYTES, MAX_VIOLATIONS
from services.runtime.server.timing import ServerTiming
from tests.support.errors import error_info, field_violations, rich_status
from tests.support.fake_service import GET_LAB, UPLOAD_RESULTS, Gate, acknowledge, answer, pretend
from tests.support.servers import channel_to, settings_for
from tests.support.waiting import TIMEOUT_SECONDS, until

LAB = GetLabRequest(name="labs/1")
START = UploadResultsRequest(start=UploadStart(lab="labs/1", upload_id="day"))


async def failure(call: grpc.aio.UnaryUnaryCall[GetLabRequest, GetLabResponse]) -> grpc.aio.AioRpcError:
    """The error a unary call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def assert_well(channel: grpc.aio.Channel) -> None:
    """The server still answers a good request."""
    assert (
        await LabServiceStub(channel).GetLab(GetLabRequest(name="labs/well"), timeout=TIMEOUT_SECONDS)
    ).lab.name == "labs/well"


def failing(error: Exception) -> object:
    """A GetLab that fails, except when it is asked whether all is well."""

    async def get_lab(request: GetLabRequest) -> GetLabResponse:
        if request.name == "labs/well":
            return await answer(request)
        raise error

    return get_lab


async def test_an_unexpected_exception_is_internal_and_says_nothing(tmp_path: Path) -> None:
    """A fixed text and the request id; no word of the exception, in the status or any trailer."""
    service = pretend(failing(RuntimeError("Zhang San 410105")))  # type: ignore[arg-type]
    async with channel_to(service, settings_for(tmp_path)) as channel:
        error = await failure(LabServiceStub(channel).GetLab(LAB, metadata=(("x-request-id", "gate-7"),)))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert error.details() == INTERNAL_TEXT == rich_status(error).message
        assert error_info(error).reason == "INTERNAL"
        assert dict(error_info(error).metadata) == {"request_id": "gate-7"}
        trailers = dict(error.trailing_metadata() or ())
        assert trailers["x-request-id"] == "gate-7"
        assert "Zhang" not in str(trailers)
        await assert_well(channel)


@pytest.mark.parametrize(
    ("retry_after", "deadline", "pushback"),
    [
        (SECOND, TIMEOUT_SECONDS, "1000"),
        (HOUR, TIMEOUT_SECONDS, "-1"),
        (None, TIMEOUT_SECONDS, "-1"),
        (HOUR, None, "3600000"),
    ],
)
async def test_unavailable_tells_grpc_when_to_retry(
    retry_after: Span | None, deadline: float | None, pushback: str, tmp_path: Path
) -> None:
    """The delay, or -1 if no retry can help or the delay does not fit into the caller's deadline."""
    error = Unavailable("DATABASE_UNAVAILABLE", english("is gone"), retry_after=retry_after)
    async with channel_to(pretend(failing(error)), settings_for(tmp_path)) as channel:  # type: ignore[arg-type]
        failed = await failure(LabServiceStub(channel).GetLab(LAB, timeout=deadline))
    assert dict(failed.trailing_metadata() or ())["grpc-retry-pushback-ms"] == pushback


async def test_an_unexpected_exception_in_a_stream_is_internal(tmp_path: Path) -> None:
    """Batches that were acknowledged before the exception stay stored."""

    async def upload(requests: AsyncIterator[UploadResultsRequest]) -> AsyncIterator[UploadResultsResponse]:
        async for response in acknowledge(requests):
            yield response
            raise RuntimeError("Zhang San 410105")

    async with channel_to(pretend(upload=upload), settings_for(tmp_path)) as channel:
        call = UploadServiceStub(channel).UploadResults(iter([START, START]))
        assert (await call.read()).committed_offset == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.details() == INTERNAL_TEXT
        assert error_info(caught.value).reason == "INTERNAL"
        await assert_well(channel)


@pytest.mark.parametrize(
    "method",
    [
        "/hutong.results.v1.LabService/ListLabs",
        "/hutong.results.v1.LabService/NoSuchMethod",
        "/hutong.policy.v1.PolicyService/GetPolicy",
        "/no.such.Service/Method",
    ],
)
async def test_what_is_not_served_is_unimplemented(method: str, tmp_path: Path) -> None:
    """A method left out, one that never was, another process's service: NOT_SERVED with the method's name."""
    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        call = channel.unary_unary(method, ListLabsRequest.SerializeToString, GetLabResponse.FromString)
        error = await failure(call(ListLabsRequest()))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert error_info(error).reason == "NOT_SERVED"
        assert dict(error_info(error).metadata) == {"method": method}
        await assert_well(channel)


async def test_health_refuses_what_it_cannot_answer_and_logs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Broken bytes, an unknown service, and a method that the library describes without an implementation."""
    health = "/grpc.health.v1.Health"
    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        found = []
        for method, request in (("Check", b"\xff"), ("Check", b"\x0a\x01x"), ("List", b"")):
            found.append((await failure(channel.unary_unary(f"{health}/{method}")(request))).code())
        watch = channel.unary_stream(f"{health}/Watch")(b"\x0a\x01\xff")
        found.append(await watch.code())
        await assert_well(channel)
    code = grpc.StatusCode
    assert found == [code.INVALID_ARGUMENT, code.NOT_FOUND, code.UNIMPLEMENTED, code.INVALID_ARGUMENT]
    assert not caplog.records


async def test_a_deadline_that_passes_is_reported_by_the_server(tmp_path: Path) -> None:
    """The answer leaves before the caller gives up, and the work is stopped."""
    gate = Gate()
    async with channel_to(pretend(gate), settings_for(tmp_path)) as channel:

        async def is_reported() -> bool:
            error = await failure(LabServiceStub(channel).GetLab(LAB, timeout=0.5))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            # On a busy machine the caller may give up first.
            if "grpc-status-details-bin" not in dict(error.trailing_metadata() or ()):
                return False
            assert error_info(error).reason == "DEADLINE"
            return dict(error_info(error).metadata) == {"method": GET_LAB}

        await until(is_reported)
        await until(lambda: gate.cancelled > 0)
        gate.open()
        await assert_well(channel)


async def test_a_caller_without_a_deadline_has_a_default_one(tmp_path: Path) -> None:
    """No call holds its resources for ever."""
    async with channel_to(pretend(Gate()), settings_for(tmp_path), ServerTiming(deadline=0.05)) as channel:
        error = await failure(LabServiceStub(channel).GetLab(LAB))
        assert error_info(error).reason == "DEADLINE"


async def test_a_deadline_already_past_leaves_the_server_well(tmp_path: Path) -> None:
    """The caller's own library ends most such calls; those that arrive are ended at once."""
    gate = Gate()
    async with channel_to(pretend(gate), settings_for(tmp_path)) as channel:
        stub = LabServiceStub(channel)
        await channel.channel_ready()
        errors = await asyncio.gather(*(failure(stub.GetLab(LAB, timeout=n * 1e-5)) for n in range(200)))
        assert {error.code() for error in errors} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        gate.open()
        await assert_well(channel)


async def test_a_message_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """The message is refused with the limit before it is read, in unary calls and in streams.

    gRPC itself refuses still larger ones.
    """
    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        large = "x" * MAX_MESSAGE_BYTES
        error = await failure(LabServiceStub(channel).GetLab(GetLabRequest(name=large)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(error).reason == "BATCH_TOO_LARGE"
        assert error_info(error).metadata["limit"] == str(MAX_MESSAGE_BYTES)
        start = UploadResultsRequest(start=UploadStart(lab=large, upload_id="day"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UploadServiceStub(channel).UploadResults(iter([start])).read()
        assert error_info(caught.value).reason == "BATCH_TOO_LARGE"
        huge = GetLabRequest(name="x" * MAX_RECEIVED_BYTES)
        assert (await failure(LabServiceStub(channel).GetLab(huge))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await assert_well(channel)


async def test_calls_beyond_the_limit_are_shed(tmp_path: Path) -> None:
    """A fourth call beside three admitted ones is refused at once with RetryInfo.

    The admitted calls are answered, and then new calls are admitted again.
    """
    gate = Gate()
    async with channel_to(pretend(gate), settings_for(tmp_path, max_calls="3")) as channel:
        stub = LabServiceStub(channel)
        inside = [asyncio.ensure_future(stub.GetLab(LAB)) for _ in range(3)]
        await gate.reached(3)
        error = await failure(stub.GetLab(LAB))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error_info(error).reason == "OVERLOADED"
        assert error_info(error).metadata["limit"] == "3"
        retries = [detail for detail in rich_status(error).details if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
        assert len(retries) == 1
        # A stream has limits of its own and still comes in.
        assert (await UploadServiceStub(channel).UploadResults(iter([START])).read()).committed_offset == 1
        gate.open()
        assert len(await asyncio.gather(*inside)) == 3
        await assert_well(channel)


async def test_a_wrong_request_is_refused_before_it_is_served(tmp_path: Path) -> None:
    """The error names every faulty field."""
    gate = Gate()
    async with channel_to(pretend(gate), settings_for(tmp_path)) as channel:
        error = await failure(LabServiceStub(channel).GetLab(GetLabRequest()))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(error).reason == "INVALID_FIELD"
        assert field_violations(error) == {"name": "INVALID_FIELD"}
        assert gate.count == 0


async def test_a_wrong_frame_ends_the_stream(tmp_path: Path) -> None:
    """Frames before the wrong one are acknowledged. Frames after it are not read."""
    wrong = UploadResultsRequest(start=UploadStart(lab="labs/1", upload_id="not one word"))
    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        call = UploadServiceStub(channel).UploadResults(iter([START, wrong, START]))
        assert (await call.read()).committed_offset == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field_violations(caught.value) == {"start.upload_id": "INVALID_FIELD"}
        await assert_well(channel)


LONG = "persons[123].document." * 200
FAULTS = [Violation(f"tubes[{number}].{LONG}", "INVALID_FIELD", "检" * 2000, subject=LONG) for number in range(500)]


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument.of(FAULTS),
        FailedPrecondition("POLICY_BREACH", "检" * 5000, violations=FAULTS, metadata={"breaches": "9" * 9000}),
        OutOfRange("UPLOAD_GAP", "x" * 9000, metadata={"committed_offset": "1" * 20_000, "resource": "检" * 20_000}),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_longest_status_arrives_whole(error: Exception, tmp_path: Path) -> None:
    """500 faults with long paths, long texts and metadata: the trailers bear it, every time."""
    async with channel_to(pretend(failing(error)), settings_for(tmp_path)) as channel:  # type: ignore[arg-type]
        for _ in range(20):
            got = await failure(LabServiceStub(channel).GetLab(LAB))
            assert error_info(got).reason == getattr(error, "reason", "")
            assert rich_status(got).ByteSize() <= MAX_DETAIL_BYTES
            assert len(field_violations(got)) <= MAX_VIOLATIONS
        await assert_well(channel)


async def test_headers_that_are_too_large_are_refused(tmp_path: Path) -> None:
    """The transport refuses them, and the server stays up."""
    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        error = await failure(LabServiceStub(channel).GetLab(LAB, metadata=(("x-much", "x" * 100_000),)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await assert_well(channel)


async def test_bytes_that_are_no_message_are_refused(tmp_path: Path) -> None:
    """INVALID_ARGUMENT in a unary call and in a stream; so is a name that a client wrote in GBK."""
    in_gbk = b"\x0a\x06" + "检测所".encode("gbk")
    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        for garbage in (b"\xff\xff\xff", in_gbk):
            error = await failure(channel.unary_unary(GET_LAB)(garbage))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert error_info(error).reason == "INVALID_FIELD"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.stream_stream(UPLOAD_RESULTS)(iter([garbage])).read()
            assert error_info(caught.value).reason == "INVALID_FIELD"
        await assert_well(channel)


async def test_a_stream_that_never_starts_is_answered(tmp_path: Path) -> None:
    """An empty upload ends cleanly."""

    def nobody() -> Iterator[UploadResultsRequest]:
        yield from ()

    async with channel_to(pretend(), settings_for(tmp_path)) as channel:
        call = UploadServiceStub(channel).UploadResults(nobody())
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
