"""Stores copies of the revisions of other nodes, and up to where other nodes are known.

Plain functions over a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from sqlalchemy import Connection, Table, select, update

from services.domain.instant import Instant
from services.policy import tables
from services.policy.changes import insert_revision, read_revision, replace_revision
from services.policy.model import Revision
from services.policy.received import ReceivedRevision
from services.storage.upsert import insert_if_absent

_nodes = tables.nodes_below

Merge: TypeAlias = Callable[[Revision | None, Revision, str], Revision | None]
"""A rule of `rules.merging`. It takes the stored revision, the sent revision and a region. It returns the revision that
stands, or None."""
NodeLife: TypeAlias = tuple[str, str]
"""The region of a node, and a life of its database."""


def receive_revision(
    connection: Connection, received: ReceivedRevision, merge: Merge, region: str, now: Instant
) -> bool:
    """Store the revision that stands after another node has sent a revision.

    Return False if the merge refuses the sent revision.

    The transaction must hold AdvisoryLock.POLICY_CHANGE.
    """
    known = read_revision(connection, received.revision)
    merged = merge(known, received.revision, region)
    if merged is None:
        return False
    if known is None:
        insert_revision(connection, merged, received.statement, now)
    elif merged != known:
        replace_revision(connection, merged, received.statement, now)
    return True


def read_lives(connection: Connection, lives: Table) -> dict[NodeLife, int]:
    """Return the newest known sequence of each life.

    `lives` is the table of the nodes above or that of the nodes below.
    """
    rows = connection.execute(select(lives.c.region, lives.c.life, lives.c.sequence))
    return {(region, life): sequence for region, life, sequence in rows}


def write_lives(connection: Connection, lives: Table, reached: Mapping[NodeLife, int]) -> None:
    """Store newer sequences of lives. `lives` is the table of the nodes above or that of the nodes below."""
    for (region, life), sequence in sorted(reached.items()):
        # The condition keeps a later position that another process may have stored.
        named = update(lives).where(lives.c.region == region, lives.c.life == life)
        if connection.execute(named.where(lives.c.sequence < sequence).values(sequence=sequence)).rowcount == 0:
            connection.execute(insert_if_absent(connection, lives).values(region=region, life=life, sequence=sequence))


def read_nodes_below(connection: Connection) -> dict[str, Instant]:
    """Return the regions of the nodes below, each with the instant up to which its policies are known.

    The instant is 0 if it is not known.
    """
    rows = connection.execute(select(_nodes.c.region, _nodes.c.as_of_time))
    return {region: as_of_time for region, as_of_time in rows}  # noqa: C416 - a Row is no tuple for the type checker
