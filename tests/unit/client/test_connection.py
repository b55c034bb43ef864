"""The targets of a connection, and the calls that gRPC may repeat by itself."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import MethodOptions
from hutong.verification.v1.refusal_service_pb2 import ReportRefusalRequest, ReportRefusalResponse
from hutong.verification.v1.refusal_service_pb2_grpc import RefusalServiceServicer, add_RefusalServiceServicer_to_server
from hutong.verification.v1.verification_service_pb2 import VerifyRequest, VerifyResponse
from hutong.verification.v1.verification_service_pb2_grpc import (
    VerificationServiceServicer,
    add_VerificationServiceServicer_to_server,
)
from hutong_client import DeadlineExceeded, Tls, Unavailable, aio, connect
from hutong_client.calls import CallOptions
from hutong_client.connection import channel_options

from tests.support.client.fake_server import serving_fake
from tests.support.waiting import TIMEOUT_SECONDS

ROOT = Path(__file__).parents[3]


def test_arguments_go_before_the_environment_and_that_before_the_defaults() -> None:
    """Each service by itself."""
    environment = {"HUTONG_RESULTS_ADDRESS": "r:1", "HUTONG_POLICY_ADDRESS": "p:1"}
    node = connect(results="r:2", environment=environment)
    assert (node.results_address, node.policy_address, node.verification_address) == ("r:2", "p:1", "127.0.0.1:50053")


def test_tls_comes_from_the_environment() -> None:
    """Under the names that the services have for it; without any of them plain text."""
    assert connect(environment={}).tls is None
    assert connect(environment={"HUTONG_TLS_SERVER_CA_FILE": "ca.pem"}).tls == Tls(ca_file=Path("ca.pem"))


def test_missing_tls_file_is_an_error_at_once() -> None:
    """A missing file is not reported as a later failed handshake."""
    with connect(tls=Tls(ca_file=Path("/nonexistent/ca.pem"))) as node, pytest.raises(FileNotFoundError):
        _ = node.labs


def test_what_may_be_repeated_is_repeated() -> None:
    """The contract decides: all calls but streams that change something, and calls that decide anew each time."""
    service_config = dict(channel_options())["grpc.service_config"]
    names = json.loads(str(service_config))["methodConfig"][0]["name"]
    repeated = {(name["service"], name["method"]) for name in names}
    files = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "clients/hutong.binpb").read_bytes())
    methods = [
        (f"{file.package}.{service.name}", method)
        for file in files.file
        if file.package.startswith("hutong.") and ".internal." not in file.package
        for service in file.service
        for method in service.method
    ]
    once = {(service, method.name) for service, method in methods if (service, method.name) not in repeated}
    streams = {
        (service, method.name)
        for service, method in methods
        if method.client_streaming
        or (method.server_streaming and method.options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS)
    }
    verification = "hutong.verification.v1.VerificationService"
    assert once == streams | {(verification, "Verify"), (verification, "BatchVerify")}


class Refusals(RefusalServiceServicer):
    """Fails the first call after it was seen, as a server does that stops before it answers."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def ReportRefusal(self, request: ReportRefusalRequest, context: grpc.ServicerContext) -> ReportRefusalResponse:
        self.seen.append(request.request_id)
        if len(self.seen) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "is stopped")
        return ReportRefusalResponse()


def test_change_is_repeated_under_one_request_id() -> None:
    """A request without one gets its own, and the caller's message stays as it was; a given one is kept."""
    servicer = Refusals()
    request = ReportRefusalRequest()
    serving = serving_fake(partial(add_RefusalServiceServicer_to_server, servicer))
    with serving as address, connect(verification=address) as node:
        node.refusals.ReportRefusal(request, timeout=TIMEOUT_SECONDS)
        node.refusals.ReportRefusal(request, timeout=TIMEOUT_SECONDS)
        given = str(uuid.uuid4())
        node.refusals.ReportRefusal(ReportRefusalRequest(request_id=given), timeout=TIMEOUT_SECONDS)
    first, again, second, third = servicer.seen
    assert first == again != second
    assert uuid.UUID(second).version == 4
    assert third == given
    assert request == ReportRefusalRequest()


class Stopping(VerificationServiceServicer):
    """Fails the first call with a code. A server that stops cancels the calls that it has not begun."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self.seen = 0
        self._code = code

    def Verify(self, _request: VerifyRequest, context: grpc.ServicerContext) -> VerifyResponse:
        self.seen += 1
        if self.seen == 1:
            context.abort(self._code, "is stopped")
        return VerifyResponse()


def test_a_decision_is_repeated_only_if_the_server_has_not_begun_it() -> None:
    """Each decision is stored, so a call that was perhaps decided is not repeated."""
    cancelled, cut = Stopping(grpc.StatusCode.CANCELLED), Stopping(grpc.StatusCode.UNAVAILABLE)
    with (
        serving_fake(partial(add_VerificationServiceServicer_to_server, cancelled)) as address,
        connect(verification=address) as node,
    ):
        node.verification.Verify(VerifyRequest(), timeout=TIMEOUT_SECONDS)
    assert cancelled.seen == 2
    with (
        serving_fake(partial(add_VerificationServiceServicer_to_server, cut)) as address,
        connect(verification=address) as node,
        pytest.raises(Unavailable),
    ):
        node.verification.Verify(VerifyRequest(), timeout=TIMEOUT_SECONDS)
    assert cut.seen == 1


class Metadata(RefusalServiceServicer):
    """Keeps the metadata and the deadline of each call.

    A refusal with the statement "late" has the answer that a call gets whose deadline has passed. A real deadline could
    pass before the call is here.
    """

    def __init__(self) -> None:
        self.seen: list[dict[str, str | bytes]] = []
        self.seconds_left: list[float] = []

    def ReportRefusal(self, request: ReportRefusalRequest, context: grpc.ServicerContext) -> ReportRefusalResponse:
        self.seen.append({it.key: it.value for it in context.invocation_metadata()})
        self.seconds_left.append(context.time_remaining())
        if request.statement == "late":
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
        return ReportRefusalResponse()


class Marked(grpc.UnaryUnaryClientInterceptor):
    """An interceptor of a caller, which sees each call."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    def intercept_unary_unary(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        self.methods.append(details.method)
        return continuation(details, request)


class AioMarked(grpc.aio.UnaryUnaryClientInterceptor):
    """The same for asyncio."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        method = details.method
        self.methods.append(method.decode() if isinstance(method, bytes) else method)
        return await continuation(details, request)


REPORT = "/hutong.verification.v1.RefusalService/ReportRefusal"


def check_options(servicer: Metadata, marked: Marked | AioMarked, failed: DeadlineExceeded) -> None:
    """Check what both APIs sent: a call with the connection's entries, one with its own, and one that was too late."""
    first, own, late = servicer.seen
    assert (first["authorization"], own["authorization"], own["hutong-case"]) == ("Bearer 1", "Bearer own", "c-1")
    assert first["x-request-id"] != own["x-request-id"]
    assert failed.request_id == late["x-request-id"]
    assert failed.request_id in str(failed)
    assert marked.methods == [REPORT] * 3
    assert max(servicer.seconds_left) < 2 * TIMEOUT_SECONDS


def test_options_hold_for_every_call() -> None:
    """Metadata that is made anew for each call, a timeout, compression and the caller's interceptors."""
    servicer, marked = Metadata(), Marked()
    tokens = iter(range(1, 9))
    own = (("authorization", "Bearer own"), ("hutong-case", "c-1"))
    with (
        serving_fake(partial(add_RefusalServiceServicer_to_server, servicer)) as address,
        connect(
            verification=address,
            timeout=TIMEOUT_SECONDS,
            metadata=lambda: [("authorization", f"Bearer {next(tokens)}")],
            compression=grpc.Compression.Gzip,
            interceptors=[marked],
        ) as node,
    ):
        node.refusals.ReportRefusal(ReportRefusalRequest())
        node.refusals.ReportRefusal(ReportRefusalRequest(), metadata=own)
        with pytest.raises(DeadlineExceeded) as caught:
            node.refusals.ReportRefusal(ReportRefusalRequest(statement="late"))
    check_options(servicer, marked, caught.value)


async def test_options_hold_for_every_call_of_asyncio() -> None:
    """Options hold as for the synchronous API."""
    servicer, marked = Metadata(), AioMarked()
    own = (("authorization", "Bearer own"), ("hutong-case", "c-1"))
    with serving_fake(partial(add_RefusalServiceServicer_to_server, servicer)) as address:
        async with aio.connect(
            verification=address,
            timeout=TIMEOUT_SECONDS,
            metadata=[("authorization", "Bearer 1")],
            compression=grpc.Compression.Gzip,
            interceptors=[marked],
        ) as node:
            await node.refusals.ReportRefusal(ReportRefusalRequest())
            await node.refusals.ReportRefusal(ReportRefusalRequest(), metadata=own)
            with pytest.raises(DeadlineExceeded) as caught:
                await node.refusals.ReportRefusal(ReportRefusalRequest(statement="late"))
    check_options(servicer, marked, caught.value)


@pytest.mark.parametrize(("attempts", "seen"), [(1, 1), (2, 2), (None, 2)])
def test_attempts_of_a_repeatable_call(attempts: int | None, seen: int) -> None:
    """One attempt means no repeat."""
    servicer = Refusals()
    serving = serving_fake(partial(add_RefusalServiceServicer_to_server, servicer))
    with serving as address, connect(verification=address, attempts=attempts) as node:
        if seen == 1:
            with pytest.raises(Unavailable):
                node.refusals.ReportRefusal(ReportRefusalRequest(), timeout=TIMEOUT_SECONDS)
        else:
            node.refusals.ReportRefusal(ReportRefusalRequest(), timeout=TIMEOUT_SECONDS)
    assert len(servicer.seen) == seen
    with pytest.raises(ValueError, match="attempts"):
        connect(attempts=6)


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """Serve an HTTP proxy that keeps the first line of each connection and refuses it."""
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    lines.append(connection.recv(4096).split(b"\r\n")[0].decode())
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", lines
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_connections_go_through_the_proxy() -> None:
    """The connection uses HTTP CONNECT with the address of the service.

    An empty proxy turns off the proxy of the environment.
    """
    with (
        proxy() as (address, lines),
        connect(verification="127.0.0.1:9", proxy=address, attempts=1) as node,
        pytest.raises(Unavailable),
    ):
        node.refusals.ReportRefusal(ReportRefusalRequest(), timeout=TIMEOUT_SECONDS)
    assert lines
    assert set(lines) == {"CONNECT 127.0.0.1:9 HTTP/1.1"}
    assert dict(channel_options(CallOptions(proxy="")))["grpc.enable_http_proxy"] == 0
