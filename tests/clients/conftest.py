"""A real node for the clients of other languages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hutong.results.v1.lab_pb2 import Lab
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong_client import connect

from clients.examples.node import Node, running_node
from tests.support.processes import PATIENT

LAB = "labs/91220502MA000LAB8G"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the laboratory of the examples and no policy."""
    with running_node(tmp_path_factory.mktemp("node"), variables=PATIENT) as node:
        with connect(environment=node.environment) as connection:
            lab = Lab(name=LAB, display_name="通化示例检验所", region="220502")
            connection.labs.CreateLab(CreateLabRequest(lab=lab), timeout=30)
        yield node
