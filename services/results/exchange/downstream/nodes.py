"""The nodes that replicate to this one: up to when each node's changes are here, and how many commits are durable.

`own` is the region of this node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hutong_texts import english
from sqlalchemy import Connection, bindparam, func, select, update

from services.domain.errors import OutOfRange
from services.domain.instant import MINUTE, Instant, Span
from services.domain.region import NATION
from services.results.exchange import tables
from services.results.exchange.homes.register import note_joined
from services.results.exchange.model import Node, NodeLog, WriterPosition
from services.results.exchange.subscribers import begin_marking
from services.storage.upsert import insert_if_absent

_nodes = tables.nodes
_positions = tables.replicated_positions
MAX_SILENCE: Span = MINUTE
"""A node that has sent nothing for this long is unavailable, because its newer results are unknown here.

Nodes send a checkpoint every second, so by then sixty checkpoints are missing.
"""
NOT_RETIRED: dict[str, Any] = {"retire_time": None, "retire_reason": "", "retire_actor": None}
"""The columns of a node that is not retired."""
_OF_WRITER = (
    _positions.c.node == bindparam("of_node"),
    _positions.c.log_id == bindparam("of_log"),
    _positions.c.writer_id == bindparam("of_writer"),
)
# Built once, because every batch executes them, and building one costs as much as executing it.
_LOCK_POSITION = select(_positions.c.committed).where(*_OF_WRITER).with_for_update()
_MOVE_POSITION = (
    update(_positions).where(*_OF_WRITER).values(committed=bindparam("reached"), commit_time=bindparam("reached_time"))
)
_COLUMNS = [_nodes.c[name] for name in ("node", *Node._fields[1:])]


def list_nodes(connection: Connection) -> list[Node]:
    """Return all nodes that ever replicated to this one, by region."""
    return [Node(*row) for row in connection.execute(select(*_COLUMNS).order_by(_nodes.c.node))]


def find_node(connection: Connection, region: str) -> Node | None:
    """Return a node; None if it never replicated to this one."""
    row = connection.execute(select(*_COLUMNS).where(_nodes.c.node == region)).first()
    return None if row is None else Node(*row)


def page_nodes(connection: Connection, after: str, limit: int) -> list[Node]:
    """Return at most `limit` nodes by region, beginning after the region `after`."""
    page = select(*_COLUMNS).where(_nodes.c.node > after).order_by(_nodes.c.node).limit(limit)
    return [Node(*row) for row in connection.execute(page)]


def open_log(
    connection: Connection,
    log: NodeLog,
    removed: Sequence[WriterPosition],
    skew: Span,
    now: Instant,
    own: str = NATION,
) -> list[WriterPosition]:
    """Return the durable positions of a log's writers. Record the contact with the node and its clock skew.

    Any contact with a retired node ends its retirement.

    Commits that the node has removed (`removed`) can no longer be sent, so they count as durable.
    """
    add_node(connection, log.node, now, own)
    values: dict[str, object] = {"contact_time": now, "clock_skew": skew, **NOT_RETIRED}
    connection.execute(update(_nodes).where(_nodes.c.node == log.node).values(values))
    # Only numbers are compared, because the time of a position may be absent.
    for position in sorted(removed, key=lambda position: (position.writer, position.offset)):
        if position.offset > lock_position(connection, log, position.writer):
            move_position(connection, log, position)
    of_log = (_positions.c.node == log.node, _positions.c.log_id == log.log_id)
    columns = (_positions.c.writer_id, _positions.c.committed, _positions.c.commit_time)
    return [WriterPosition(*row) for row in connection.execute(select(*columns).where(*of_log))]


def add_node(connection: Connection, region: str, now: Instant, own: str = NATION) -> None:
    """Register a node if it is not registered yet.

    From the first node that joins below it, this node notifies nodes and marks adverse subjects. The nation does so
    from the beginning.
    """
    inserted = connection.execute(
        insert_if_absent(connection, _nodes).values(
            node=region, contact_time=now, backlog=0, clock_skew=0, conflict_count=0, newest_notification=0
        )
    )
    if inserted.rowcount:
        is_first = own != NATION and connection.execute(select(func.count()).select_from(_nodes)).scalar() == 1
        note_joined(connection, region, own, is_first=is_first)
        if is_first:
            begin_marking(connection)


def record_checkpoint(
    connection: Connection, region: str, as_of_time: Instant | None, backlog: int, skew: Span | None, now: Instant
) -> None:
    """Record a node's checkpoint: the node is alive, and has `backlog` commits still to send.

    Only a checkpoint without a backlog brings `as_of_time` and the clock skew. Otherwise both are None.
    """
    values: dict[str, object] = {"contact_time": now, "backlog": backlog, **NOT_RETIRED}
    if as_of_time is not None:
        values["as_of_time"] = as_of_time
    if skew is not None:
        values["clock_skew"] = skew
    connection.execute(update(_nodes).where(_nodes.c.node == region).values(values))


def add_counts(connection: Connection, counts: Mapping[tuple[str, str], int]) -> None:
    """Add to the counts of nodes. The keys of `counts` are node and column."""
    for (region, column), count in sorted(counts.items()):
        raised = {column: _nodes.c[column] + count}
        connection.execute(update(_nodes).where(_nodes.c.node == region).values(raised))


def lock_position(connection: Connection, log: NodeLog, writer: int) -> int:
    """Return how many of a writer's commits are durable here.

    The position stays locked until the transaction ends.
    """
    of_writer = {"of_node": log.node, "of_log": log.log_id, "of_writer": writer}
    committed = connection.execute(_LOCK_POSITION, of_writer).scalar()
    if committed is None:
        new = insert_if_absent(connection, _positions)
        connection.execute(new.values(node=log.node, log_id=log.log_id, writer_id=writer, committed=0))
        committed = connection.execute(_LOCK_POSITION, of_writer).scalar_one()
    return int(committed)


def move_position(connection: Connection, log: NodeLog, position: WriterPosition) -> None:
    """Set a writer's position. The caller has locked it."""
    of_writer = {"of_node": log.node, "of_log": log.log_id, "of_writer": position.writer}
    moved = {"reached": position.offset, "reached_time": position.commit_time}
    connection.execute(_MOVE_POSITION, of_writer | moved)


def replication_gap(committed: int, offset: int) -> OutOfRange:
    """Return the error for a batch that begins beyond the committed offset."""
    return OutOfRange(
        "UPLOAD_GAP",
        english(
            "the batch begins at {offset}, but {committed} commits of its writer are known; go on from there",
            offset=offset,
            committed=committed,
        ),
        metadata={"committed_offset": str(committed), "offset": str(offset)},
    )
