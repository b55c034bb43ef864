"""The store of what the nation has published, at a province.

Every process of a province stores the same revisions, in any order and as often as it receives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from services.domain.instant import Instant
from services.domain.region import NATION
from services.policy import tables
from services.policy.changes import insert_revision, revision_from_row, write_withdrawal
from services.policy.convert import Statement
from services.policy.model import Revision
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.engine import Database
from services.storage.upsert import insert_if_absent

_policies = tables.policies
_positions = tables.upstream_places


class UpstreamPosition(NamedTuple):
    """Up to where the nation's policies have come.

    `cursor` is the nation's, or empty where everything is to be sent again; `as_of_time` is an instant by its clock.
    """

    cursor: str
    as_of_time: Instant


class ReceivedRevision(NamedTuple):
    """A revision as the nation sends it, and the statement it was made from."""

    revision: Revision
    statement: Statement


class UpstreamStore:
    """What a province keeps of the nation's policies, in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_position(self) -> UpstreamPosition | None:
        """Up to where the nation's policies have come; None before its first message."""
        return await self._database.read(_read_position)

    async def receive(
        self, revisions: Sequence[ReceivedRevision], position: UpstreamPosition | None, now: Instant
    ) -> list[str]:
        """Store revisions as they stand at the nation, and up to where they go, in one transaction.

        What is known of a revision stays. The names of those that the nation sends differently are returned. The
        position then loses its cursor, so that whoever begins from it compares everything again.
        """
        return await self._database.write(_receive, revisions, position, now)


def _read_position(connection: Connection) -> UpstreamPosition | None:
    row = connection.execute(select(_positions.c.cursor, _positions.c.as_of_time)).first()
    return None if row is None else UpstreamPosition(row.cursor, row.as_of_time)


def _receive(
    connection: Connection, revisions: Sequence[ReceivedRevision], position: UpstreamPosition | None, now: Instant
) -> list[str]:
    if revisions:
        lock_until_commit(connection, AdvisoryLock.POLICY_CHANGE)
    differing = [one.revision.name for one in revisions if not _receive_one(connection, one, now)]
    if position is not None:
        _write_position(connection, position._replace(cursor="") if differing else position)
    return differing


def _receive_one(connection: Connection, received: ReceivedRevision, now: Instant) -> bool:
    """Store a revision or its withdrawal. False if something else is known of it, which stays."""
    revision = received.revision
    query = select(_policies).where(
        _policies.c.region == revision.region,
        _policies.c.policy_id == revision.policy_id,
        _policies.c.revision == revision.revision,
    )
    row = connection.execute(query).first()
    if row is None:
        insert_revision(connection, revision, received.statement, now)
        return True
    known = revision_from_row(row)
    if known.content_hash != revision.content_hash:
        return False
    if known.withdraw_time is not None:
        return revision.withdraw_time is not None
    if revision.withdraw_time is not None:
        write_withdrawal(connection, revision, now)
    return True


def _write_position(connection: Connection, position: UpstreamPosition) -> None:
    if connection.execute(update(_positions).values(position._asdict())).rowcount == 0:
        # Another process may be as far at this instant: its position is as good.
        connection.execute(insert_if_absent(connection, _positions).values(region=NATION, **position._asdict()))
