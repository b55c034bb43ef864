"""The nation's nodes as sources of look-ups: their states, and waiting for them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from hutong.results.v1.lookup_pb2 import SOURCE_STATE_OK, SOURCE_STATE_RETIRED, SOURCE_STATE_UNAVAILABLE, SourceState

from services.domain.errors import Unavailable
from services.domain.instant import DAY, MINUTE, SECOND, Instant, from_timestamp
from services.results.exchange.downstream.freshness import (
    LISTED_FOR,
    MOST_WAITING,
    NodeRegistry,
)
from services.results.exchange.downstream.nodes import MAX_SILENCE
from services.results.exchange.downstream.relayed import RelayedNode
from services.results.exchange.downstream.states import MAX_LAG
from services.results.exchange.model import Node
from services.results.timing import ResultsTiming
from services.runtime.call import Call, current_call
from services.runtime.clock import FixedClock
from services.runtime.consistency import CommitPosition, LogPosition
from tests.support.results.factories import NOW
from tests.support.virtual_time import in_virtual_time, pass_time

JILIN = "220000"


class Register:
    """The store's nodes and positions, which the test sets. Counts how often the positions are read.

    `reached` gives the newest sequence of each life; the last life is the newest. `lost` are positions of the node's
    own log that a restore has lost.
    """

    def __init__(self, *nodes: Node, reached: dict[str, int] | None = None) -> None:
        self.nodes = list(nodes)
        self.relayed: list[RelayedNode] = []
        self.reached = reached or {}
        self.lost: set[LogPosition] = set()
        self.reads = 0

    async def find_unmet(self, commits: Collection[CommitPosition]) -> dict[CommitPosition, bool]:
        self.reads += 1
        past = list(self.reached)[:-1]
        return {
            commit: commit.position.life not in past
            for commit in commits
            if self.reached.get(commit.position.life, 0) < commit.position.sequence
        }

    async def find_lost(self, positions: Collection[LogPosition]) -> set[LogPosition]:
        return self.lost & set(positions)

    async def list_nodes(self) -> list[Node]:
        return list(self.nodes)

    async def list_relayed(self) -> list[RelayedNode]:
        return list(self.relayed)


def node(region: str = JILIN, *, as_of: Instant | None = NOW, contact: Instant = NOW) -> Node:
    """A node as it was last heard of."""
    return Node(region, as_of, contact, 0, 0, 0)


def nodes_of(register: Register, jurisdiction: str = "000000") -> NodeRegistry:
    """Return what a node knows of the nodes in a register."""
    store: Any = register
    return NodeRegistry(store, jurisdiction, FixedClock(NOW), ResultsTiming())


def commit(sequence: int, *, life: str = "a", region: str = JILIN) -> CommitPosition:
    """The content of a token of a node's results."""
    return CommitPosition("results", region, LogPosition(life, 1, sequence))


def within(seconds: float) -> None:
    """Let the running task serve a call that has so much time."""
    call = Call("test")
    call.deadline = asyncio.get_running_loop().time() + seconds
    current_call.set(call)


@in_virtual_time
async def test_a_nodes_state_depends_on_when_it_last_called() -> None:
    """OK up to its instant, never beyond now; silent after a minute; unknown before its first checkpoint; forgotten."""
    register = Register(
        node("110000", as_of=NOW - MINUTE, contact=NOW - MAX_SILENCE),
        node("120000", as_of=NOW + MINUTE),
        node("130000", contact=NOW - MAX_SILENCE - SECOND),
        node("140000", as_of=None),
        node("210000", as_of=NOW - MAX_LAG - SECOND),
        node("150000", contact=NOW - LISTED_FOR - DAY),
    )
    told = await nodes_of(register).sources()
    assert [(one.node.removeprefix("nodes/"), one.state) for one in told] == [
        ("000000", SOURCE_STATE_OK),
        ("110000", SOURCE_STATE_OK),
        ("120000", SOURCE_STATE_OK),
        ("130000", SOURCE_STATE_UNAVAILABLE),
        ("140000", SOURCE_STATE_UNAVAILABLE),
        ("210000", SOURCE_STATE_UNAVAILABLE),
    ]
    assert [from_timestamp(one.as_of_time) for one in told[:4]] == [NOW, NOW - MINUTE, NOW, NOW]
    assert not told[4].HasField("as_of_time")


@in_virtual_time
async def test_a_retired_node_is_a_source_of_its_own_state_while_it_is_silent() -> None:
    register = Register(
        node("130000", contact=NOW - MAX_SILENCE - SECOND)._replace(retire_time=NOW),
        node("140000", as_of=None, contact=NOW - DAY)._replace(retire_time=NOW),
        node("210000")._replace(retire_time=NOW),
        node("220000", contact=NOW - LISTED_FOR - DAY)._replace(retire_time=NOW),
    )
    told = await nodes_of(register).sources()
    assert [(one.node.removeprefix("nodes/"), one.state) for one in told[1:]] == [
        ("130000", SOURCE_STATE_RETIRED),
        ("140000", SOURCE_STATE_RETIRED),
        ("210000", SOURCE_STATE_OK),
    ]


@in_virtual_time
async def test_a_province_without_nodes_is_its_only_source() -> None:
    assert [one.node for one in await nodes_of(Register(), "410000").sources()] == ["nodes/410000"]


@in_virtual_time
@pytest.mark.parametrize(
    ("relaying", "stated", "as_of", "expected"),
    [
        (node(), SOURCE_STATE_OK, NOW, SOURCE_STATE_OK),
        (node(), SOURCE_STATE_UNAVAILABLE, NOW, SOURCE_STATE_UNAVAILABLE),
        (node(), SOURCE_STATE_OK, NOW - MAX_LAG - SECOND, SOURCE_STATE_UNAVAILABLE),
        (node(), SOURCE_STATE_OK, None, SOURCE_STATE_UNAVAILABLE),
        (node(contact=NOW - DAY), SOURCE_STATE_OK, NOW, SOURCE_STATE_UNAVAILABLE),
        (node(contact=NOW - DAY)._replace(retire_time=NOW), SOURCE_STATE_UNAVAILABLE, NOW, SOURCE_STATE_RETIRED),
    ],
)
async def test_a_relayed_node_is_ok_only_if_the_node_that_relays_it_is(
    relaying: Node, stated: SourceState.ValueType, as_of: Instant | None, expected: SourceState.ValueType
) -> None:
    register = Register(relaying)
    register.relayed = [RelayedNode("220200", JILIN, stated, as_of), RelayedNode("410100", "410000", stated, as_of)]
    told = await nodes_of(register).sources()
    assert [(one.node, one.state) for one in told[2:]] == [("nodes/220200", expected)]


@in_virtual_time
async def test_all_waiting_calls_share_their_reads_and_go_on_together() -> None:
    """Whenever each of a hundred began, half a second of them all costs a few reads."""
    register = Register(reached={"a": 0})
    nodes = nodes_of(register)
    waiters = []
    for index in range(100):
        waiters.append(asyncio.create_task(nodes.await_fresh([commit(index + 1)])))
        await pass_time(0.001)
    begun = register.reads
    await pass_time(0.5)
    assert not any(waiter.done() for waiter in waiters)
    assert register.reads - begun < 25
    register.reached = {"a": 100}
    async with asyncio.timeout(2):
        await asyncio.gather(*waiters)


@in_virtual_time
async def test_a_token_of_the_node_itself_needs_no_wait() -> None:
    """The token is met, or a restore has lost its commit."""
    register = Register()
    own = commit(3, region="000000")
    await nodes_of(register).await_fresh([own])
    register.lost = {own.position}
    with pytest.raises(Unavailable) as caught:
        await nodes_of(register).await_fresh([own])
    assert caught.value.metadata == {"node": "nodes/000000", "lost": "true"}
    assert register.reads == 0


@in_virtual_time
async def test_there_is_no_wait_for_what_a_restore_of_its_node_has_lost() -> None:
    """A commit of a later life is here, so nothing more of the earlier life comes. A life not known yet may come."""
    nodes = nodes_of(Register(reached={"a": 7, "b": 1}))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await nodes.await_fresh([commit(7), commit(1, life="b")])
    with pytest.raises(Unavailable) as caught:
        await nodes.await_fresh([commit(8)])
    assert loop.time() - begun < 0.1
    assert caught.value.metadata == {"node": f"nodes/{JILIN}", "lost": "true"}
    assert caught.value.retry_after is None
    within(0.5)
    with pytest.raises(Unavailable) as caught:
        await nodes.await_fresh([commit(1, life="c")])
    assert caught.value.metadata == {"node": f"nodes/{JILIN}"}


@in_virtual_time
async def test_a_wait_ends_before_the_call_does_and_names_the_node() -> None:
    register = Register(reached={"a": 1})
    loop = asyncio.get_running_loop()
    within(0.5)
    begun = loop.time()
    with pytest.raises(Unavailable) as caught:
        await nodes_of(register).await_fresh([commit(2)])
    assert loop.time() - begun < 0.5
    assert (caught.value.reason, caught.value.metadata) == ("NOT_FRESH_ENOUGH", {"node": f"nodes/{JILIN}"})


@in_virtual_time
async def test_a_call_that_stops_waiting_does_not_disturb_the_others() -> None:
    register = Register(reached={"a": 1})
    nodes = nodes_of(register)
    first, second = (asyncio.create_task(nodes.await_fresh([commit(2)])) for _ in range(2))
    await pass_time(0.02)
    first.cancel()
    register.reached = {"a": 2}
    async with asyncio.timeout(2):
        await second


@in_virtual_time
async def test_made_up_tokens_do_not_gather_without_end() -> None:
    """More than may wait are answered at once, and none waits for longer than the limit."""
    nodes = nodes_of(Register(reached={"a": 1}))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    waiting = [asyncio.create_task(nodes.await_fresh([commit(2)])) for _ in range(MOST_WAITING)]
    await pass_time(0.01)
    with pytest.raises(Unavailable) as refused:
        await nodes.await_fresh([commit(2)])
    assert (refused.value.reason, refused.value.metadata) == ("NOT_FRESH_ENOUGH", {"node": f"nodes/{JILIN}"})
    assert loop.time() - begun < 0.1
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in ended} == {Unavailable}
    assert loop.time() - begun < ResultsTiming().token_wait + 0.1
