"""Results as others meet it: a node with a laboratory, and a nation for provinces to join."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.databases import MakeUrl
from tests.support.results.country import Country, open_country
from tests.support.results.node import ResultsNode, results_node


@pytest.fixture
def url(database_url: MakeUrl) -> str:
    """A fresh database; the test runs once on each engine."""
    return database_url("results")


@pytest.fixture
async def node(tmp_path: Path, url: str) -> AsyncIterator[ResultsNode]:
    """A node on the database of `url`, with the laboratory of the tests."""
    async with results_node(tmp_path, url) as running:
        await running.register()
        yield running


@pytest.fixture
async def country(tmp_path: Path, sqlite_url: MakeUrl, request: pytest.FixtureRequest) -> AsyncIterator[Country]:
    """A nation without provinces, on SQLite: the stores are proven on both engines by themselves.

    An indirect parameter is the timing of its nodes.
    """
    async with open_country(tmp_path, sqlite_url, getattr(request, "param", None)) as opened:
        yield opened
