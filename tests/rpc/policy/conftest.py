"""Policy services: one for each test, and one for all tests of a module that only send what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.databases import MakeUrl, PostgresServer, SqliteDatabases
from tests.support.policy.service import Service, policy_at


@pytest.fixture
async def service(database_url: MakeUrl, tmp_path: Path) -> AsyncIterator[Service]:
    """A fresh service on each engine."""
    async with policy_at(database_url("policy"), tmp_path) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def empty_service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """A service on each engine that stays empty, because it refuses everything that tests send."""
    name = "sqlite_databases" if request.param == "sqlite" else "postgres_server"
    databases: SqliteDatabases | PostgresServer = request.getfixturevalue(name)
    url = databases.make("policy")
    async with policy_at(url, tmp_path_factory.mktemp("policy")) as served:
        yield served
    if isinstance(databases, PostgresServer):
        databases.drop(url)
