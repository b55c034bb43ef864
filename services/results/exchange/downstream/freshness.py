"""How complete this node's store is: the state of each node below it, and waiting for nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from hutong.results.v1.lookup_pb2 import SOURCE_STATE_OK, DataSource, SourceState
from hutong_texts import Text, english

from services.domain.errors import Unavailable
from services.domain.instant import DAY, Span, set_timestamp
from services.domain.names import format_node, parse_node
from services.domain.region import within
from services.results.exchange.downstream.relayed import RelayedNode
from services.results.exchange.downstream.states import states_below
from services.results.exchange.downstream.store import DownstreamStore
from services.results.exchange.model import Node, NodeState
from services.results.lookup.nationwide import lost
from services.results.timing import ResultsTiming
from services.runtime.call import only_waiting, seconds_left
from services.runtime.client.coalescer import Coalescer
from services.runtime.clock import Clock
from services.runtime.consistency import CommitPosition

LISTED_FOR: Span = 30 * DAY
"""A node that has been silent for longer is not listed as a source, because its newest results are older than any
window."""
MOST_WAITING = 1_000
"""The most look-ups that wait at once. Any caller can make up tokens of commits that never come."""
_WAIT_SHARE = 0.7
"""Share of the caller's time for waiting. The rest is for the look-up, or for returning the error NOT_FRESH_ENOUGH in
time."""
_POLL_SECONDS = 0.05
"""The wait between two reads of positions. All waiting calls read at the same instants, and so they share each read."""


class NodeRegistry:
    """What a node knows of the nodes below it. If no nodes are below it, the node itself is the only source."""

    def __init__(self, store: DownstreamStore, jurisdiction: str, clock: Clock, timing: ResultsTiming) -> None:
        self._longest_wait = timing.token_wait
        self._store = store
        self._jurisdiction = jurisdiction
        self._clock = clock
        self._waiting = 0
        self._reads: Coalescer[None, list[Node]] = Coalescer(self._read_for_all, name="freshness batch")
        self._relayed: Coalescer[None, list[RelayedNode]] = Coalescer(
            self._read_relayed_for_all, name="freshness batch"
        )
        self._positions: Coalescer[frozenset[CommitPosition], dict[CommitPosition, bool]] = Coalescer(
            self._find_for_all, name="freshness batch"
        )

    async def list_below(self) -> list[NodeState]:
        """Return the state of each node below this one, at any depth. Call this before reading the results."""
        now = self._clock.now()
        nodes = await self._reads.ask(None)
        return states_below(nodes, await self._relayed.ask(None), now) if nodes else []

    async def sources(self) -> list[DataSource]:
        """Return this node and each node below it as sources. Call this before reading the results."""
        now = self._clock.now()
        listed = [
            one for one in await self.list_below() if one.contact_time is None or one.contact_time >= now - LISTED_FOR
        ]
        return [
            _source(self._jurisdiction, now),
            *(_source(one.region, one.as_of_time, one.state) for one in listed),
        ]

    def is_here(self, region: str) -> bool:
        """Return whether this node receives the commits of a region's node.

        That node must be this node or a node below it.
        """
        return within(region, self._jurisdiction)

    def select_above(self, sources: Iterable[DataSource]) -> list[DataSource]:
        """Return the sources that are neither this node nor a node below it."""
        return [source for source in sources if not self.is_here(parse_node(source.node))]

    def covers(self, region: str) -> bool:
        """Return whether a region lies in this node's region and is another region."""
        return region != self._jurisdiction and within(region, self._jurisdiction)

    async def await_fresh(self, commits: Iterable[CommitPosition]) -> None:
        """Wait until the commits are stored here, but no longer than the current call allows.

        The call does not wait for a commit that a restore has lost, at this node or at the node that made the commit.

        Raises:
            Unavailable: NOT_FRESH_ENOUGH, a commit is lost or did not arrive in time. The metadata names the node.
        """
        wanted = set(commits)
        own = {commit.position for commit in wanted if commit.region == self._jurisdiction}
        if own and await self._store.find_lost(own):
            raise lost(format_node(self._jurisdiction))
        wanted = {commit for commit in wanted if commit.region != self._jurisdiction}
        if not wanted:
            return
        if self._waiting >= MOST_WAITING:
            raise _not_fresh(wanted, english("too many look-ups wait already for what their tokens stand for"))
        self._waiting += 1
        try:
            with only_waiting():
                await self._wait_for(wanted)
        finally:
            self._waiting -= 1

    async def _wait_for(self, wanted: set[CommitPosition]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds_left(self._longest_wait / _WAIT_SHARE) * _WAIT_SHARE
        while True:
            unmet = await self._find_unmet(wanted)
            if not unmet:
                return
            for commit, may_come in unmet.items():
                if not may_come:
                    raise lost(format_node(commit.region))
            if loop.time() >= until:
                here = format_node(self._jurisdiction)
                raise _not_fresh(unmet, english("what the token stands for has not come to {node} in time", node=here))
            await asyncio.sleep(_POLL_SECONDS - loop.time() % _POLL_SECONDS)

    async def _find_unmet(self, wanted: set[CommitPosition]) -> dict[CommitPosition, bool]:
        """Return the commits that are not here.

        The positions are read after this call began. Concurrent calls share one read.
        """
        unmet = await self._positions.ask(frozenset(wanted))
        return {commit: may_come for commit, may_come in unmet.items() if commit in wanted}

    async def _find_for_all(self, callers: list[frozenset[CommitPosition]]) -> list[dict[CommitPosition, bool]]:
        return [await self._store.find_unmet(frozenset().union(*callers))] * len(callers)

    async def _read_for_all(self, callers: list[None]) -> list[list[Node]]:
        return [await self._store.list_nodes()] * len(callers)

    async def _read_relayed_for_all(self, callers: list[None]) -> list[list[RelayedNode]]:
        return [await self._store.list_relayed()] * len(callers)


def _source(region: str, as_of_time: int | None, state: SourceState.ValueType = SOURCE_STATE_OK) -> DataSource:
    source = DataSource(node=format_node(region), state=state)
    if as_of_time is not None:
        set_timestamp(source.as_of_time, as_of_time)
    return source


def _not_fresh(commits: Iterable[CommitPosition], text: Text) -> Unavailable:
    return Unavailable("NOT_FRESH_ENOUGH", text, metadata={"node": format_node(min(commits).region)})
