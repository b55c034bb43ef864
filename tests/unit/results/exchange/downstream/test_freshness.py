"""The nation's nodes as sources of look-ups: their states, and waiting for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hutong.results.v1.lookup_pb2 import SOURCE_STATE_OK, SOURCE_STATE_UNAVAILABLE

from services.domain.errors import Unavailable
from services.domain.instant import DAY, MINUTE, SECOND, Instant, from_timestamp
from services.results.exchange.downstream.freshness import LISTED_FOR, MAX_LAG, MAX_SILENCE, NodeRegistry
from services.results.exchange.model import Node
from services.runtime.call import Call, current_call
from services.runtime.clock import FixedClock
from services.runtime.consistency import Freshness
from tests.support.results.factories import NOW
from tests.support.virtual_time import in_virtual_time, pass_time

JILIN = "220000"


class Register:
    """The store's register of nodes, in the test's hand; counts how often it is read."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = list(nodes)
        self.reads = 0

    async def list_nodes(self) -> list[Node]:
        self.reads += 1
        return list(self.nodes)


def node(region: str = JILIN, *, as_of: Instant | None = NOW, contact: Instant = NOW) -> Node:
    """A node as it was last heard of."""
    return Node(region, as_of, contact, 0, 0, 0)


def nodes_of(register: Register, jurisdiction: str = "000000") -> NodeRegistry:
    """What a node makes of a register."""
    store: Any = register
    return NodeRegistry(store, jurisdiction, FixedClock(NOW))


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
async def test_a_province_has_no_nodes_to_tell_of() -> None:
    register = Register(node())
    assert [one.node for one in await nodes_of(register, "410000").sources()] == ["nodes/410000"]


@in_virtual_time
async def test_all_waiting_calls_share_their_reads_and_go_on_together() -> None:
    """Whenever each of a hundred began, half a second of them all costs a few reads."""
    register = Register(node(as_of=NOW))
    nodes = nodes_of(register)
    waiters = []
    for index in range(100):
        waiters.append(asyncio.create_task(nodes.await_fresh([Freshness("results", JILIN, NOW + index)])))
        await pass_time(0.001)
    begun = register.reads
    await pass_time(0.5)
    assert not any(waiter.done() for waiter in waiters)
    assert register.reads - begun < 25
    register.nodes = [node(as_of=NOW + 100)]
    async with asyncio.timeout(2):
        await asyncio.gather(*waiters)


@in_virtual_time
async def test_a_token_of_the_node_itself_needs_no_look() -> None:
    register = Register()
    await nodes_of(register).await_fresh([Freshness("results", "000000", NOW)])
    assert register.reads == 0


@in_virtual_time
async def test_a_wait_ends_before_the_call_does_and_names_the_node() -> None:
    """An instant that is only just reached is not passed: what was acknowledged in it may be on its way."""
    register = Register(node(as_of=NOW))
    loop = asyncio.get_running_loop()
    within(0.5)
    begun = loop.time()
    with pytest.raises(Unavailable) as caught:
        await nodes_of(register).await_fresh([Freshness("results", JILIN, NOW)])
    assert loop.time() - begun < 0.5
    assert (caught.value.reason, caught.value.metadata) == ("NOT_FRESH_ENOUGH", {"node": f"nodes/{JILIN}"})


@in_virtual_time
async def test_a_call_that_stops_waiting_does_not_disturb_the_others() -> None:
    register = Register(node(as_of=NOW))
    nodes = nodes_of(register)
    first, second = (asyncio.create_task(nodes.await_fresh([Freshness("results", JILIN, NOW)])) for _ in range(2))
    await pass_time(0.02)
    first.cancel()
    register.nodes = [node(as_of=NOW + 1)]
    async with asyncio.timeout(2):
        await second
