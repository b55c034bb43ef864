"""What a node states of the nodes below it, and what it cannot state."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hutong.exchange.v1.exchange_service_pb2 import NodePosition, ReplicateBatch, ReplicateCheckpoint
from hutong.exchange.v1.node_pb2 import (
    SET_ASIDE_REASON_NOT_ITS_OWN,
    NodeBelow,
    NodeFigures,
    SetAside,
    SetAsideReason,
)
from hutong.results.v1.lookup_pb2 import (
    SOURCE_STATE_NOT_CONFIGURED,
    SOURCE_STATE_OK,
    SOURCE_STATE_RETIRED,
    SOURCE_STATE_UNAVAILABLE,
    SourceState,
)
from hutong.type.v1.life_position_pb2 import LifePosition
from sqlalchemy import Connection

from services.domain.instant import SECOND, to_timestamp
from services.domain.region import NATION
from services.results.exchange.downstream.nodes import MAX_SILENCE, add_node, list_nodes
from services.results.exchange.downstream.relayed import RelayedNode, list_relayed, record_positions, record_relayed
from services.results.exchange.downstream.replication.grouping import ArrivedBatch, Decoded
from services.results.exchange.downstream.replication.lives import find_unmet
from services.results.exchange.downstream.store import DownstreamStore
from services.results.exchange.model import NodeLog
from services.results.exchange.upstream.batching import pack
from services.results.exchange.upstream.outbox import read_page
from services.results.stores import Stores
from services.runtime.consistency import CommitPosition, LogPosition
from tests.support.databases import MakeUrl
from tests.support.results.country import HENAN, JILIN, ZHENGZHOU
from tests.support.results.factories import NOW, PEPPER
from tests.support.results.store import Laboratory, open_laboratory

KAIFENG = "410200"


@pytest.fixture
async def nation(database_url: MakeUrl) -> AsyncIterator[Laboratory]:
    async with open_laboratory(database_url("results")) as opened:
        yield opened


async def test_a_node_states_only_what_is_below_it(nation: Laboratory) -> None:
    """Silent nodes below it that replicated here are handed over to it. Others are neither changed nor added."""
    stated = (ZHENGZHOU, KAIFENG, "410202", JILIN, HENAN, NATION, "419999")
    checkpoint = ReplicateCheckpoint(
        nodes_below=[
            NodeBelow(
                node=f"nodes/{region}",
                state=SOURCE_STATE_OK,
                as_of_time=to_timestamp(NOW),
                contact_time=to_timestamp(NOW - SECOND),
                backlog=3,
            )
            for region in stated
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
        record_positions(connection, HENAN, checkpoint.positions_below)
        record_relayed(connection, HENAN, checkpoint.nodes_below, NOW, NATION)

    await nation.database.write(work)
    assert [one.region for one in await nation.database.read(list_nodes)] == [JILIN, HENAN, KAIFENG]
    assert await nation.database.read(list_relayed) == [
        RelayedNode(ZHENGZHOU, HENAN, SOURCE_STATE_OK, NOW, NOW - SECOND, 3)
    ]
    # What Henan sent of Zhengzhou before was set aside, so the next statement satisfies its tokens.
    commits = {region: CommitPosition("results", region, LogPosition("a", 1, 7)) for region in stated}
    assert set(await nation.database.read(find_unmet, list(commits.values()))) == set(commits.values())
    await nation.database.write(record_positions, HENAN, checkpoint.positions_below)
    unmet = await nation.database.read(find_unmet, list(commits.values()))
    assert {region for region, commit in commits.items() if commit not in unmet} == {ZHENGZHOU}
    # A life that is stated before a known one is the earlier one, so nothing of it is still to come.
    earlier = [
        NodePosition(node=f"nodes/{ZHENGZHOU}", writer=writer, position=LifePosition(life=life, sequence=7))
        for life, writer in (("first", 1), ("second", 1), ("a", 1))
    ]
    await nation.database.write(record_positions, HENAN, earlier)
    commits = {
        life: CommitPosition("results", ZHENGZHOU, LogPosition(life, 1, 8)) for life in ("first", "second", "a", "new")
    }
    unmet = await nation.database.read(find_unmet, list(commits.values()))
    assert {life: unmet[commit] for life, commit in commits.items()} == {
        "first": False, "second": False, "a": True, "new": True,
    }  # fmt: skip
    # Once Henan states no nodes below, none are kept.
    await nation.database.write(record_relayed, HENAN, (), NOW, NATION)
    assert await nation.database.read(list_relayed) == []


async def test_a_state_that_no_node_has_counts_as_unavailable(nation: Laboratory) -> None:
    stated: dict[str, int] = {
        "410100": SOURCE_STATE_RETIRED,
        "410200": SOURCE_STATE_NOT_CONFIGURED,
        # No column of a database takes this number.
        "410300": 70_000,
    }
    checkpoint = ReplicateCheckpoint(
        nodes_below=[
            NodeBelow(node=f"nodes/{region}", state=SourceState.ValueType(state)) for region, state in stated.items()
        ]
    )

    def work(connection: Connection) -> None:
        add_node(connection, HENAN, NOW)
        record_relayed(connection, HENAN, checkpoint.nodes_below, NOW, NATION)

    await nation.database.write(work)
    states = {one.region: one.state for one in await nation.database.read(list_relayed)}
    assert states == {
        "410100": SOURCE_STATE_RETIRED,
        "410200": SOURCE_STATE_UNAVAILABLE,
        "410300": SOURCE_STATE_UNAVAILABLE,
    }


async def test_figures_and_paths_are_kept_as_they_are_stated(nation: Laboratory) -> None:
    """A path that does not lead downwards to the node is left out.

    A node of the previous release states neither figures nor paths.
    """
    set_aside = [
        SetAside(reason=SET_ASIDE_REASON_NOT_ITS_OWN, count=5),
        SetAside(reason=SetAsideReason.ValueType(77), count=6),
    ]
    figures = NodeFigures(conflict_count=4, set_aside=set_aside)
    figures.clock_skew.FromSeconds(-3)
    county, other = "410105", "410106"
    retired = NodeBelow(node="nodes/410107", state=SOURCE_STATE_RETIRED, retire_reason="flooded")
    retired.retire_time.CopyFrom(to_timestamp(NOW))
    below = [
        retired,
        NodeBelow(node=f"nodes/{ZHENGZHOU}", state=SOURCE_STATE_OK),
        NodeBelow(node=f"nodes/{county}", state=SOURCE_STATE_OK, figures=figures, path=[f"nodes/{ZHENGZHOU}"]),
        NodeBelow(node=f"nodes/{other}", state=SOURCE_STATE_OK, figures=NodeFigures(), path=[f"nodes/{KAIFENG}"]),
    ]

    def work(connection: Connection) -> None:
        add_node(connection, HENAN, NOW)
        record_relayed(connection, HENAN, below, NOW, NATION)

    await nation.database.write(work)
    relayed = {one.region: one for one in await nation.database.read(list_relayed)}
    kept = relayed.pop("410107")
    assert (kept.retire_time, kept.retire_reason) == (NOW, "flooded")
    assert {one.retire_time for one in relayed.values()} == {None}
    found = {region: (one.figures, one.path) for region, one in relayed.items()}
    assert found == {
        ZHENGZHOU: (None, ()),
        county: ((-3 * SECOND, 4, 5, 0), (ZHENGZHOU,)),
        other: ((0, 0, 0, 0), ()),
    }


async def test_positions_go_up_with_the_log_through_every_node(database_url: MakeUrl) -> None:
    """A batch of a city changes nothing, and states a position of a county. The province logs both positions."""
    county = "410102"
    batch = ReplicateBatch(
        writer=1,
        next_offset=3,
        lives=[LifePosition(life="a", sequence=3)],
        positions_below=[
            NodePosition(node=f"nodes/{county}", writer=2, position=LifePosition(life="c", sequence=5)),
            NodePosition(node=f"nodes/{JILIN}", writer=2, position=LifePosition(life="c", sequence=5)),
        ],
    )
    commits = [
        CommitPosition("results", ZHENGZHOU, LogPosition("a", 1, 3)),
        CommitPosition("results", county, LogPosition("c", 2, 5)),
    ]
    sender, above = ZHENGZHOU, HENAN
    for _ in range(2):
        async with open_laboratory(database_url("results")) as opened:
            database, clock = opened.database, opened.clock
            stores = Stores(database, clock, PEPPER.secrets, above, joined=above != NATION)
            downstream = DownstreamStore(database, clock, stores.applier, stores.partitions, above)
            log = NodeLog(sender, "log")
            stream, _ = await downstream.open_log(log, [], 0)
            await downstream.apply_batch(log, stream, ArrivedBatch(batch, Decoded([], [])))
            assert await downstream.find_unmet(commits) == {}
            page = await database.read(read_page, {}, above)
        if above == HENAN:
            (frame,) = pack(page, NOW, 1_000)
            batch, sender, above = frame.request.batch, HENAN, NATION
    # The nation has no node above, and logs no positions.
    assert [entry for commit in page.commits for entry in commit.entry.positions_below] == []
