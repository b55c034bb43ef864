"""A real node for the clients of other languages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong_client import connect

from clients.examples.node import Node, running_node
from clients.examples.story import LABS
from tests.support.processes import PATIENT
from tests.support.waiting import TIMEOUT_SECONDS


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the laboratory of the examples and no policy."""
    with running_node(tmp_path_factory.mktemp("node"), variables=PATIENT) as node:
        with connect(environment=node.environment) as connection:
            connection.labs.CreateLab(CreateLabRequest(lab=LABS[0]), timeout=TIMEOUT_SECONDS)
        yield node
