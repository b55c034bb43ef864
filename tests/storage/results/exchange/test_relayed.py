"""What a node states of the nodes below it, and what it cannot state."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hutong.exchange.v1.exchange_service_pb2 import NodePosition, ReplicateCheckpoint
from hutong.results.v1.lookup_pb2 import (
    SOURCE_STATE_NOT_CONFIGURED,
    SOURCE_STATE_OK,
    SOURCE_STATE_RETIRED,
    SOURCE_STATE_UNAVAILABLE,
    DataSource,
    SourceState,
)
from hutong.type.v1.life_position_pb2 import LifePosition
from sqlalchemy import Connection

from services.domain.instant import SECOND, to_timestamp
from services.domain.region import NATION
from services.results.exchange.downstream.lives import find_unmet
from services.results.exchange.downstream.nodes import MAX_SILENCE, add_node, list_nodes
from services.results.exchange.downstream.relayed import RelayedNode, list_relayed, record_relayed
from services.runtime.consistency import CommitPosition, LogPosition
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN
from tests.support.results.factories import NOW
from tests.support.results.store import Laboratory, open_laboratory

ZHENGZHOU, KAIFENG = "410100", "410200"


@pytest.fixture
async def nation(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    async with open_laboratory(database_url("results")) as opened:
        yield opened


async def test_a_node_states_only_what_is_below_it(nation: Laboratory) -> None:
    """Silent nodes below it that replicated here are handed over to it. Others are neither changed nor added."""
    stated = (ZHENGZHOU, KAIFENG, JILIN, HENAN, NATION, "419999")
    checkpoint = ReplicateCheckpoint(
        nodes_below=[
            DataSource(node=f"nodes/{region}", state=SOURCE_STATE_OK, as_of_time=to_timestamp(NOW)) for region in stated
        ],
        positions_below=[
            NodePosition(node=f"nodes/{region}", writer=1, position=LifePosition(life="a", sequence=7))
            for region in stated
        ],
    )

    def work(connection: Connection) -> None:
        add_node(connection, HENAN, NOW)
        add_node(connection, JILIN, NOW - MAX_SILENCE - SECOND)
        add_node(connection, ZHENGZHOU, NOW - MAX_SILENCE - SECOND)
        add_node(connection, KAIFENG, NOW)
        record_relayed(connection, HENAN, checkpoint, NOW, NATION)

    await nation.database.write(work)
    assert [one.region for one in await nation.database.read(list_nodes)] == [JILIN, HENAN, KAIFENG]
    assert await nation.database.read(list_relayed) == [RelayedNode(ZHENGZHOU, HENAN, SOURCE_STATE_OK, NOW)]
    commits = {region: CommitPosition("results", region, LogPosition("a", 1, 7)) for region in stated}
    unmet = await nation.database.read(find_unmet, list(commits.values()))
    assert {region for region, commit in commits.items() if commit not in unmet} == {ZHENGZHOU}


async def test_a_state_that_no_node_has_counts_as_unavailable(nation: Laboratory) -> None:
    stated: dict[str, int] = {
        "410100": SOURCE_STATE_RETIRED,
        "410200": SOURCE_STATE_NOT_CONFIGURED,
        # No column of a database takes this number.
        "410300": 70_000,
    }
    checkpoint = ReplicateCheckpoint(
        nodes_below=[
            DataSource(node=f"nodes/{region}", state=SourceState.ValueType(state)) for region, state in stated.items()
        ]
    )

    def work(connection: Connection) -> None:
        add_node(connection, HENAN, NOW)
        record_relayed(connection, HENAN, checkpoint, NOW, NATION)

    await nation.database.write(work)
    states = {one.region: one.state for one in await nation.database.read(list_relayed)}
    assert states == {
        "410100": SOURCE_STATE_RETIRED,
        "410200": SOURCE_STATE_UNAVAILABLE,
        "410300": SOURCE_STATE_UNAVAILABLE,
    }
