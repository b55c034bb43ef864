"""What a node states to the node above about nodes below.

For each node below it states how complete that node is here, and how far that node is replicated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableSequence, Sequence
from typing import NamedTuple

from hutong.exchange.v1.exchange_service_pb2 import NodePosition, ReplicateCheckpoint
from hutong.type.v1.life_position_pb2 import LifePosition
from sqlalchemy import Connection, and_, or_, select

from services.domain.instant import set_timestamp
from services.domain.names import format_node
from services.results.changelog.model import PositionBelow
from services.results.exchange import tables
from services.results.exchange.convert.figures import figures_to_proto
from services.results.exchange.model import NodeState
from services.storage.engine import Database

MAX_POSITIONS = 20_000
"""The most positions in one checkpoint. The next checkpoint brings the remaining positions."""

_lives = tables.replicated_lives


class Position(NamedTuple):
    """How many commits of one writer in one life of a node's database are here.

    Later lives have greater ordinals.
    """

    node: str
    life: str
    writer_id: int
    newest_sequence: int
    ordinal: int


class Statements(NamedTuple):
    """What a checkpoint states: the nodes below, and the positions that have moved."""

    nodes: Sequence[NodeState]
    positions: Sequence[Position]

    def fill(self, checkpoint: ReplicateCheckpoint) -> None:
        """Add the statements to a checkpoint."""
        for node in self.nodes:
            stated = checkpoint.nodes_below.add(node=format_node(node.region), state=node.state, backlog=node.backlog)
            if node.as_of_time is not None:
                set_timestamp(stated.as_of_time, node.as_of_time)
            if node.contact_time is not None:
                set_timestamp(stated.contact_time, node.contact_time)
            if node.figures is not None:
                stated.figures.CopyFrom(figures_to_proto(node.figures))
            stated.path.extend(map(format_node, node.path))
            if node.retire_time is not None:
                set_timestamp(stated.retire_time, node.retire_time)
                stated.retire_reason = node.retire_reason
        positions = [PositionBelow(one.node, one.writer_id, one.life, one.newest_sequence) for one in self.positions]
        fill_positions(checkpoint.positions_below, positions)


def fill_positions(messages: MutableSequence[NodePosition], positions: Sequence[PositionBelow]) -> None:
    """Add positions of nodes below to a message.

    Of several positions of one life and writer, only the last is added.
    """
    newest = {one[:3]: one for one in positions}
    for one in newest.values():
        position = LifePosition(life=one.life, sequence=one.sequence)
        messages.append(NodePosition(node=format_node(one.node), writer=one.writer, position=position))


NOTHING = Statements((), ())
"""The statements of a node without nodes below."""


class StatementsBelow:
    """Makes the statements of one stream. Positions that were sent and have not moved since are left out.

    A checkpoint comes at the end of a page of the log. Its statements are read before the page is read. A transaction
    that moves a position also writes its changes to the log, so the page has all changes that the position stands for.
    """

    def __init__(self, database: Database, list_below: Callable[[], Awaitable[Sequence[NodeState]]]) -> None:
        """Create the statements of a stream. `list_below` returns the state of each node below, at any depth."""
        self._database = database
        self._list_below = list_below
        self._sent: dict[tuple[str, str, int], int] = {}
        self._newest: dict[str, Position] = {}

    async def read(self) -> Statements:
        """Return the current statements."""
        nodes = await self._list_below()
        if not nodes:
            return NOTHING
        found = await self._database.read(_read_positions, self._newest)
        moved = [one for one in found if self._sent.get(one[:3], 0) < one.newest_sequence]
        return Statements(nodes, moved[:MAX_POSITIONS])

    def note_sent(self, statements: Statements) -> None:
        """Note that a checkpoint with these statements was sent."""
        for one in statements.positions:
            self._sent[one[:3]] = one.newest_sequence
            if one.node not in self._newest or one.ordinal >= self._newest[one.node].ordinal:
                self._newest[one.node] = one


def _read_positions(connection: Connection, newest: Mapping[str, Position]) -> list[Position]:
    """Return the positions that may have moved since the positions `newest` were sent.

    They are of the same life as `newest` or of a later life.
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
