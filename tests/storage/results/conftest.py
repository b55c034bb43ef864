"""Stores of Results on fresh databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.databases import MakeUrl
from tests.support.results.store import Laboratory, open_laboratory


@pytest.fixture
async def laboratory(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """A laboratory at a store; the test runs once on each engine."""
    async with open_laboratory(database_url("results")) as opened:
        yield opened


@pytest.fixture
async def postgresql(postgres_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """As `laboratory`, on PostgreSQL: it alone has concurrent write transactions."""
    async with open_laboratory(postgres_url("results")) as opened:
        yield opened


@pytest.fixture
async def sqlite(sqlite_url: MakeUrl) -> AsyncIterator[Laboratory]:
    """As `laboratory`, on SQLite: for what does not depend on the engine."""
    async with open_laboratory(sqlite_url("results")) as opened:
        yield opened
