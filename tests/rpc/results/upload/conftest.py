"""Uploads run on SQLite unless a test asks for both engines."""

from __future__ import annotations

import pytest

from tests.support.databases import MakeUrl


@pytest.fixture
def url(sqlite_url: MakeUrl) -> str:
    """A fresh database, of which `node` is made."""
    return sqlite_url("results")
