"""A country on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.databases import MakeUrl
from tests.support.results.country import Country, open_country


@pytest.fixture
async def country(tmp_path: Path, database_url: MakeUrl) -> AsyncIterator[Country]:
    """A nation without provinces, on SQLite and on PostgreSQL."""
    async with open_country(tmp_path, database_url) as opened:
        yield opened
