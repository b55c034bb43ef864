"""How complete the nation's store is: each node that replicates to it as a source, and waiting for one to catch up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from hutong.results.v1.lookup_pb2 import SOURCE_STATE_OK, SOURCE_STATE_UNAVAILABLE, DataSource

from services.domain.errors import Unavailable
from services.domain.instant import DAY, MINUTE, Span, set_timestamp
from services.domain.names import format_node
from services.domain.region import NATION
from services.results.exchange.downstream.store import DownstreamStore
from services.results.exchange.model import Node
from services.runtime.call import seconds_left
from services.runtime.client.coalescer import Coalescer
from services.runtime.clock import Clock
from services.runtime.consistency import Freshness

SILENT: Span = MINUTE
"""A node not heard of for so long is one that does not answer: what it holds since is not known."""
LATE: Span = 5 * MINUTE
"""A node further behind with what it sends is one that does not answer: what it has not sent is not known either."""
FORGOTTEN: Span = 30 * DAY
"""What a node may hold that was not heard of for so long is inside nobody's window; it is not spoken of any more."""
LONGEST_WAIT_SECONDS = 5.0
"""How long a look-up waits at most for a node to catch up with a token."""
_WAIT_SHARE = 0.7
"""Of the caller's time; the rest is for the look-up itself, and for saying precisely that it was not fresh in time."""
_LOOK_SECONDS = 0.05
"""Between two looks at the register of nodes; all who wait look at the same instants, and so share each look."""


class NodeRegistry:
    """What the nation knows of its nodes. At a province there are none, and nothing to wait for."""

    def __init__(self, store: DownstreamStore, jurisdiction: str, clock: Clock) -> None:
        self._store = store
        self._jurisdiction = jurisdiction
        self._clock = clock
        self._looks: Coalescer[None, list[Node]] = Coalescer(self._look_for_all, in_flight=1)

    async def sources(self) -> list[DataSource]:
        """This node, and each that replicates to it, as sources. To be asked before the results are read."""
        now = self._clock.now()
        sources = [_source(self._jurisdiction, now)]
        for node in await self._look():
            if node.contact_time < now - FORGOTTEN:
                continue
            # A node may be ahead with its clock, and no answer is complete beyond now.
            as_of_time = None if node.as_of_time is None else min(node.as_of_time, now)
            answers = node.contact_time >= now - SILENT and as_of_time is not None and as_of_time >= now - LATE
            sources.append(_source(node.region, as_of_time, answers=answers))
        return sources

    async def await_fresh(self, tokens: Iterable[Freshness]) -> None:
        """Wait until what the tokens stand for is here, as long as the call under way allows.

        Raises:
            Unavailable: NOT_FRESH_ENOUGH, it did not come in time.
        """
        wanted: dict[str, int] = {}
        for token in tokens:
            if token.region != self._jurisdiction:
                wanted[token.region] = max(token.instant, wanted.get(token.region, token.instant))
        if not wanted:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds_left(LONGEST_WAIT_SECONDS / _WAIT_SHARE) * _WAIT_SHARE
        while True:
            reached = {node.region: node.as_of_time for node in await self._look()}
            late = [region for region, instant in wanted.items() if (reached.get(region) or 0) <= instant]
            if not late:
                return
            if loop.time() >= until:
                raise Unavailable(
                    "NOT_FRESH_ENOUGH",
                    "what the token stands for has not come to the national node in time",
                    metadata={"node": format_node(late[0])},
                )
            await asyncio.sleep(_LOOK_SECONDS - loop.time() % _LOOK_SECONDS)

    async def _look(self) -> list[Node]:
        """The register of nodes as it stands after the asking; those who ask at once share one read."""
        return await self._looks.ask(None) if self._jurisdiction == NATION else []

    async def _look_for_all(self, askers: list[None]) -> list[list[Node]]:
        return [await self._store.list_nodes()] * len(askers)


def _source(region: str, as_of_time: int | None, *, answers: bool = True) -> DataSource:
    source = DataSource(node=format_node(region), state=SOURCE_STATE_OK if answers else SOURCE_STATE_UNAVAILABLE)
    if as_of_time is not None:
        set_timestamp(source.as_of_time, as_of_time)
    return source
