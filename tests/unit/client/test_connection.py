"""Where a connection goes, and what gRPC may repeat by itself."""

from __future__ import annotations

import json
import uuid
from functools import partial
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import MethodOptions
from hutong.verification.v1.refusal_service_pb2 import ReportRefusalRequest, ReportRefusalResponse
from hutong.verification.v1.refusal_service_pb2_grpc import RefusalServiceServicer, add_RefusalServiceServicer_to_server
from hutong_client import Tls, connect
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
    """And not a handshake that fails later."""
    with connect(tls=Tls(ca_file=Path("/nonexistent/ca.pem"))) as node, pytest.raises(FileNotFoundError):
        _ = node.labs


def test_what_may_be_repeated_is_repeated() -> None:
    """By the contract's own words: all but streams that change something, and calls that decide anew each time."""
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
