"""Fixtures of the end-to-end tests: a real node that stays empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clients.examples.node import ALL, Node
from tests.support.client.forked_node import forked_node


@pytest.fixture(scope="session")
def empty_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on which no test writes."""
    with forked_node(tmp_path_factory.mktemp("node"), [ALL]) as running:
        yield running
