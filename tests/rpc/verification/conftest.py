"""The node of the tests of Verification: real Results and Policy, each a service of one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.domain.instant import HOUR
from tests.support.verification.node import ALL, Callers, Node, calling


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the node has its files."""
    return tmp_path_factory.mktemp("node")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(directory: Path) -> AsyncIterator[Callers]:
    """A node with one laboratory; venues in Zhengzhou ask for 48 hours, those in Kaifeng for nothing."""
    node = Node(directory)
    try:
        await node.start(ALL)
        async with calling(node.addresses) as callers:
            await callers.create_lab()
            await callers.publish("410100", 48 * HOUR)
            await callers.publish("410200", None)
            yield callers
    finally:
        await node.close()
