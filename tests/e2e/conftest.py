"""What the end-to-end tests share: a real node of three processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clients.examples.node import Node, running_node
from tests.support.ports import free_addresses


@pytest.fixture(scope="session")
def empty_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on which no test writes."""
    with running_node(tmp_path_factory.mktemp("node"), free_addresses()) as running:
        yield running
