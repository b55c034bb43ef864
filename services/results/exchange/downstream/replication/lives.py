"""At a node with nodes below: for each life of another node's database, how far its commits are durable here.

Consistency tokens name such positions.

A node sends a commit only after all commits that ended before that commit was made. When a commit of a later life of
the database arrives, all commits that were kept of earlier lives are therefore here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import BindParameter, Connection, and_, bindparam, func, or_, select, update

from services.results.exchange import tables
from services.runtime.consistency import BEFORE_ANY, CommitPosition
from services.storage.upsert import insert_if_absent

_lives = tables.replicated_lives
_REACHED: BindParameter[int] = bindparam("reached")
# Built once, because every batch executes it.
_MOVE = (
    update(_lives)
    .where(
        _lives.c.node == bindparam("of_node"),
        _lives.c.life == bindparam("of_life"),
        _lives.c.writer_id == bindparam("of_writer"),
        _lives.c.newest_sequence <= _REACHED,
    )
    .values(newest_sequence=_REACHED)
)


def record_reached(
    connection: Connection, node: str, writer: int, newest: Mapping[str, int], *, is_earlier: bool = False
) -> None:
    """Record how far a writer's commits are durable, in the transaction that stores them.

    `newest` gives the greatest sequence of each life, in the order of the commits. A node that was restored sends
    earlier commits again, so a position never moves back. If `is_earlier` is set, a life that is new here is recorded
    as earlier than the known lives.
    """
    for life, sequence in newest.items():
        moved = {"of_node": node, "of_life": life, "of_writer": writer, "reached": sequence}
        if connection.execute(_MOVE, moved).rowcount:
            continue
        beside = func.min(_lives.c.ordinal) - 1 if is_earlier else func.max(_lives.c.ordinal) + 1
        ordinal = select(func.coalesce(beside, 1)).where(_lives.c.node == node)
        new = insert_if_absent(connection, _lives).values(
            node=node, life=life, writer_id=writer, newest_sequence=sequence, ordinal=ordinal.scalar_subquery()
        )
        connection.execute(new)


def find_lives(connection: Connection, nodes: Collection[str]) -> set[tuple[str, str]]:
    """Return the known lives of nodes' databases, each with its node."""
    query = select(_lives.c.node, _lives.c.life).where(_lives.c.node.in_(nodes)).distinct()
    return {(row.node, row.life) for row in connection.execute(query)} if nodes else set()


def find_unmet(connection: Connection, commits: Collection[CommitPosition]) -> dict[CommitPosition, bool]:
    """Return the commits of other nodes that are not here, and for each whether it may still come.

    If a commit of a later life of the same node is here, the missing commit cannot come any more, because a restore has
    lost it.
    """
    wanted = {commit for commit in commits if commit.position.sequence != BEFORE_ANY.sequence}
    if not wanted:
        return {}
    named = sorted({(commit.region, commit.position.life) for commit in wanted})
    of_lives = or_(*(and_(_lives.c.node == node, _lives.c.life == life) for node, life in named))
    reached: dict[tuple[str, str, int], int] = {}
    ordinals: dict[tuple[str, str], int] = {}
    for row in connection.execute(select(_lives).where(of_lives)):
        reached[row.node, row.life, row.writer_id] = row.newest_sequence
        ordinals[row.node, row.life] = max(row.ordinal, ordinals.get((row.node, row.life), 0))
    unmet = [
        commit
        for commit in wanted
        if reached.get((commit.region, commit.position.life, commit.position.writer), 0) < commit.position.sequence
    ]
    if not unmet:
        return {}
    nodes = sorted({commit.region for commit in unmet})
    newest: dict[str, int] = dict(
        connection.execute(
            select(_lives.c.node, func.max(_lives.c.ordinal)).where(_lives.c.node.in_(nodes)).group_by(_lives.c.node)
        ).all()
    )
    # A commit may still come if its life is unknown here, or is the newest life of its node.
    lives = {commit: ordinals.get((commit.region, commit.position.life)) for commit in unmet}
    return {commit: ordinal is None or ordinal >= newest[commit.region] for commit, ordinal in lives.items()}
