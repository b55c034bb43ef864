"""A store is served under the pepper it was filled under, and under no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.configuration.variables import BadSetting
from tests.support.databases import MakeUrl
from tests.support.results.factories import make_tubes
from tests.support.results.node import results_node


async def test_a_store_is_not_served_under_another_pepper(tmp_path: Path, database_url: MakeUrl) -> None:
    """With another pepper no results would be found, and all holders would be refused. With the right one it serves."""
    url = database_url("results")
    async with results_node(tmp_path, url) as node:
        await node.register()
        await node.upload(make_tubes(1))
    other = tmp_path / "other-pepper"
    other.write_bytes(b"another secret of the nation, 32 b")
    with pytest.raises(BadSetting, match="HUTONG_PEPPER_FILE"):
        async with results_node(tmp_path, url, pepper_file=str(other)):
            pass
    async with results_node(tmp_path, url) as node:
        (answer,) = await node.upload(make_tubes(1), "again")
        assert answer.duplicate_count == 1
