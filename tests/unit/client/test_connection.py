"""Where a connection goes, and what gRPC may repeat by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from hutong_client import Tls, connect
from hutong_client.connection import service_config

ROOT = Path(__file__).parents[3]
CHANGING = (
    "Create", "Set", "Upload", "Import", "Link", "Unlink", "Correct", "Recall", "Publish", "Withdraw", "Report",
    "Answer", "Verify", "BatchVerify", "StreamVerify", "Watch", "Replicate", "LookupSubjects",
    "SubscribeSubjects",
)  # fmt: skip


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


def test_only_reads_are_repeated_and_all_of_them() -> None:
    """Every unary method of the public contract is in the retry policy, or it changes or stores something."""
    names = json.loads(service_config())["methodConfig"][0]["name"]
    repeated = {(name["service"], name["method"]) for name in names}
    files = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "clients/hutong.binpb").read_bytes())
    methods = {
        (f"{file.package}.{service.name}", method.name)
        for file in files.file
        if file.package.startswith("hutong.") and ".internal." not in file.package
        for service in file.service
        for method in service.method
    }
    assert repeated == {it for it in methods if not it[1].startswith(CHANGING)}
