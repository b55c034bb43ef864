"""The Go client's examples against a real node."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hutong.results.v1.lab_pb2 import Lab
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong_client import connect

from clients.examples.node import Node, running_node
from tests.support.processes import run

CLIENT = Path(__file__).parents[2] / "clients/go"
LAB = "labs/91220502MA000LAB8G"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with one laboratory and a policy that asks for a result at hotels."""
    assert shutil.which("go"), "Go is not installed"
    with running_node(tmp_path_factory.mktemp("node")) as node:
        with connect(environment=node.environment) as connection:
            lab = Lab(name=LAB, display_name="通化示例检验所", region="220502")
            connection.labs.CreateLab(CreateLabRequest(lab=lab), timeout=30)
        yield node


def example(name: str, *arguments: str) -> str:
    done = run(["go", "run", f"./examples/{name}", *arguments], cwd=CLIENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_laboratory_uploads_and_gate_asks(node: Node) -> None:
    """The bad tube is named with its reason, and all others are stored. The gate gets a typed answer."""
    told = example("lab", "-results", node.addresses["results"], "-lab", LAB)
    assert "accepted 9, rejected 1" in told
    assert "tube 9" in told
    assert "TIMES_OUT_OF_ORDER" in told
    told = example("gate", "-verification", node.addresses["verification"])
    assert "DECISION_REASON_NO_POLICY_IN_FORCE" in told


def test_faulty_field_is_named(node: Node) -> None:
    """By its path, in a typed error."""
    done = run(
        ["go", "run", "./examples/gate", "-verification", node.addresses["verification"], "-region", "999999"],
        cwd=CLIENT,
    )
    assert done.returncode == 1
    assert done.stdout.startswith("region: ")
    assert "REGION_UNKNOWN" in done.stderr
