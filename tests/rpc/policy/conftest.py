"""A Policy service for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.databases import MakeUrl
from tests.support.policy.service import Service, policy_at


@pytest.fixture
async def service(database_url: MakeUrl, tmp_path: Path) -> AsyncIterator[Service]:
    """A fresh service on each engine."""
    async with policy_at(database_url("policy"), tmp_path) as served:
        yield served
