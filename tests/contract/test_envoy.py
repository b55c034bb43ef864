"""The methods that Envoy serves as HTTP/JSON and gRPC-Web, and the committed configuration for it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from deploy.envoy.configure import DESCRIPTORS, main, served_methods

LEFT_OUT = ("Admin", "Upload", "Exchange", "Internal", "CreateLab", "SetLabStanding", "StreamVerify", "AnswerRefusal")
SERVED = {
    "hutong.policy.v1.PolicyService/ResolvePolicy",
    "hutong.results.v1.ImportService/ImportResults",
    "hutong.results.v1.ResultsService/WatchResults",
    "hutong.verification.v1.RefusalService/ReportRefusal",
    "hutong.verification.v1.VerificationService/BatchVerify",
    "hutong.verification.v1.VerificationService/Verify",
}


def test_committed_configuration_is_that_of_the_contract() -> None:
    """The command without options writes it."""
    assert Path("deploy/envoy/envoy.yaml").read_text(encoding="utf-8") == main([])


def test_committed_configuration_traces_nothing() -> None:
    """Only an operator who names a receiver lets Envoy record calls. A span has the name of a method, never a path."""
    assert "tracing" not in main([])
    traced = yaml.safe_load(main(["--otlp=127.0.0.1:4317", "--trace-ratio=0.5"]))["static_resources"]
    (manager,) = (one["typed_config"] for one in traced["listeners"][0]["filter_chains"][0]["filters"])
    assert manager["tracing"]["random_sampling"] == {"value": 50.0}
    assert all("decorator" in route for route in manager["route_config"]["virtual_hosts"][0]["routes"])
    assert traced["clusters"][-1]["name"] == "otlp"


def test_administration_uploads_and_exchange_are_left_out() -> None:
    """The proxy serves the calls of gates and apps, and every read."""
    served = {method.name for method in served_methods(FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()))}
    assert served >= SERVED
    assert not [name for name in served if any(word in name for word in LEFT_OUT)]


def test_openapi_document_has_every_served_method() -> None:
    """The document has the types of each method's request and answer, and nothing else."""
    made = yaml.load(Path("deploy/envoy/openapi.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
    served = served_methods(FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()))
    assert list(made["paths"]) == [f"/{method.name}" for method in served]
    used = set(re.findall(r"#/definitions/([\w.]+)", str(made)))
    assert used == set(made["definitions"])
    answers = {name: path["post"]["responses"]["200"]["schema"] for name, path in made["paths"].items()}
    assert [answers[f"/{method.name}"].get("type") == "array" for method in served] == [
        method.is_stream for method in served
    ]
