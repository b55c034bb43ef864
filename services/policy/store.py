"""Stores policies in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hutong.policy.v1.policy_admin_service_pb2 import (
    PublishPolicyRequest,
    PublishPolicyResponse,
    WithdrawPolicyRequest,
    WithdrawPolicyResponse,
)
from sqlalchemy import Connection

from services.domain.errors import Unavailable
from services.domain.instant import Instant
from services.policy import tables
from services.policy.changes import Changes, newest_sequence, read_changes
from services.policy.copies import NodeLife, read_lives, read_nodes_below
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.engine import Database
from services.storage.idempotency import IdempotentRequest, IdempotentWriter

R = TypeVar("R", PublishPolicyResponse, WithdrawPolicyResponse)

_HEADS = (
    f"SELECT region, as_of_time FROM {tables.nodes_below.name}"  # noqa: S608 - names of tables
    f" UNION ALL SELECT '', coalesce(max(sequence), 0) FROM {tables.policy_changes.name}"
)
"""Reads what `_read_heads` reads. The row without a region has the sequence of the last change."""


class PolicyStore:
    """The store of policies. Every write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = IdempotentWriter(database, tables.requests)

    async def read_changes(self, after: int) -> Changes:
        """Read every revision that was published or withdrawn after a sequence."""
        return await self._database.read(read_changes, after)

    async def newest_sequence(self) -> int:
        """Return the sequence of the last change; 0 before the first."""
        return await self._database.read(newest_sequence)

    async def read_heads(self) -> tuple[dict[str, Instant], int]:
        """Return the instant up to which each node below is known, and the sequence of the last change.

        Up to this sequence, all changes for which these instants stand are in the log. Every process asks this ten
        times a second, so on PostgreSQL the event loop asks by a single statement.
        """
        if self._database.is_sqlite or not self._database.has_current_schema:
            return await self._database.read(_read_heads)
        try:
            rows = await self._database.read_alone(_HEADS)
        except Unavailable:
            # The server may have closed the connection. `read` then makes a new one.
            return await self._database.read(_read_heads)
        heads = {region.decode(): int(number) for region, number in rows}
        newest = heads.pop("")
        return heads, newest

    async def read_lives_below(self) -> dict[NodeLife, int]:
        """Return the newest known sequence of each life of each node below."""
        return await self._database.read(read_lives, tables.lives_below)

    async def change_once(
        self,
        request: PublishPolicyRequest | WithdrawPolicyRequest,
        change: Callable[[Connection], R],
        response_type: type[R],
        now: Instant,
    ) -> R:
        """Make a change in one transaction, once for each request id. A lock serializes the processes' changes."""

        def run(connection: Connection) -> R:
            lock_until_commit(connection, AdvisoryLock.POLICY_CHANGE)
            return change(connection)

        idempotent = IdempotentRequest(request, response_type, _as_it_is, now)
        return await self._writer.write(idempotent, run)


def _read_heads(connection: Connection) -> tuple[dict[str, Instant], int]:
    # On PostgreSQL a later statement sees later commits. The nodes must therefore be read first.
    nodes = read_nodes_below(connection)
    return nodes, newest_sequence(connection)


def _as_it_is(response: R) -> R:
    return response
