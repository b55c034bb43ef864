"""What a node tells the node above of the nodes below it: how complete each is, and how far each is replicated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from hutong.exchange.v1.exchange_service_pb2 import NodePosition, ReplicateCheckpoint
from hutong.results.v1.lookup_pb2 import DataSource
from hutong.type.v1.life_position_pb2 import LifePosition
from sqlalchemy import Connection, and_, or_, select

from services.domain.names import format_node
from services.results.exchange import tables
from services.storage.engine import Database

MAX_POSITIONS = 20_000
"""The most positions in one checkpoint. The next one brings the others."""

_lives = tables.replicated_lives


class SourcesBelow(Protocol):
    """How complete this node's store is for each of the nodes below it."""

    async def sources(self) -> list[DataSource]:
        """Return this node and each node below it as sources."""
        ...


class Position(NamedTuple):
    """How far a writer of a life of a node's database is here. Later lives have greater ordinals."""

    node: str
    life: str
    writer_id: int
    newest_sequence: int
    ordinal: int


class Statements(NamedTuple):
    """What a checkpoint states: the nodes below, and the positions that have moved."""

    sources: Sequence[DataSource]
    positions: Sequence[Position]

    def fill(self, checkpoint: ReplicateCheckpoint) -> None:
        """Add the statements to a checkpoint."""
        checkpoint.nodes_below.extend(self.sources)
        for one in self.positions:
            position = LifePosition(life=one.life, sequence=one.newest_sequence)
            checkpoint.positions_below.append(
                NodePosition(node=format_node(one.node), writer=one.writer_id, position=position)
            )


NOTHING = Statements((), ())
"""The statements of a node without nodes below."""


class StatementsBelow:
    """Makes the statements of one stream. Positions that were sent and have not moved since are left out.

    Statements are read before the page of the log that their checkpoint ends. A transaction that moves a position also
    has its changes in the log, so the page has everything that the position stands for.
    """

    def __init__(self, database: Database, freshness: SourcesBelow) -> None:
        self._database = database
        self._freshness = freshness
        self._sent: dict[tuple[str, str, int], int] = {}
        self._newest: dict[str, Position] = {}

    async def read(self) -> Statements:
        """Return the present statements."""
        sources = (await self._freshness.sources())[1:]
        if not sources:
            return NOTHING
        found = await self._database.read(_read_positions, self._newest)
        moved = [one for one in found if self._sent.get(one[:3], 0) < one.newest_sequence]
        return Statements(sources, moved[:MAX_POSITIONS])

    def note_sent(self, statements: Statements) -> None:
        """Note that a checkpoint with these statements was sent."""
        for one in statements.positions:
            self._sent[one[:3]] = one.newest_sequence
            if one.node not in self._newest or one.ordinal >= self._newest[one.node].ordinal:
                self._newest[one.node] = one


def _read_positions(connection: Connection, newest: Mapping[str, Position]) -> list[Position]:
    """Return the positions that may have moved since `newest` were sent.

    They are of the same life or of a later life.
    """
    columns = [_lives.c[name] for name in Position._fields]
    later = [
        and_(_lives.c.node == node, or_(_lives.c.ordinal > one.ordinal, _lives.c.life == one.life))
        for node, one in sorted(newest.items())
    ]
    query = select(*columns).order_by(_lives.c.node, _lives.c.ordinal)
    if later:
        query = query.where(or_(_lives.c.node.not_in(sorted(newest)), *later))
    return [Position(*row) for row in connection.execute(query)]
