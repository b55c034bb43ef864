"""Nodes that exchange reported refusals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.databases import MakeUrl
from tests.support.verification.refusal_nodes import (
    HENAN,
    JILIN,
    NATION,
    ZHENGZHOU,
    OneNode,
    nodes_of,
)


@pytest.fixture
def country(database_url: MakeUrl) -> Iterator[list[OneNode]]:
    """A nation, two provinces, and a city below the second one."""
    with nodes_of((NATION, JILIN, HENAN, ZHENGZHOU), database_url) as nodes:
        yield nodes


@pytest.fixture
def small(sqlite_url: MakeUrl) -> Iterator[list[OneNode]]:
    """The same country on SQLite."""
    with nodes_of((NATION, JILIN, HENAN, ZHENGZHOU), sqlite_url) as nodes:
        yield nodes
