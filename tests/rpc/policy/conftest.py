"""Policy services: one for each test, and one for all tests of a module that only send what it refuses.

They are on SQLite. The store is proven on both engines by itself (tests/storage/policy), and so are watches and nodes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.databases import MakeUrl, SqliteDatabases
from tests.support.policy.service import Service, policy_at


@pytest.fixture
async def service(sqlite_url: MakeUrl, tmp_path: Path) -> AsyncIterator[Service]:
    """A fresh service."""
    async with policy_at(sqlite_url("policy"), tmp_path) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty_service(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """A service that stays empty, because it refuses everything that tests send."""
    async with policy_at(sqlite_databases.make("policy"), tmp_path_factory.mktemp("policy")) as served:
        yield served
