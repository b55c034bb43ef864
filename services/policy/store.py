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

from services.domain.instant import Instant
from services.policy import tables
from services.policy.changes import Changes, newest_sequence, read_changes
from services.storage.advisory_locks import AdvisoryLock, lock_until_commit
from services.storage.engine import Database
from services.storage.idempotency import answer_once

R = TypeVar("R", PublishPolicyResponse, WithdrawPolicyResponse)


class PolicyStore:
    """The store of policies. Every write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_changes(self, after: int) -> Changes:
        """Read every revision that was published or withdrawn after a sequence."""
        return await self._database.read(read_changes, after)

    async def newest_sequence(self) -> int:
        """Return the sequence of the last change; 0 before the first."""
        return await self._database.read(newest_sequence)

    async def change_once(
        self,
        request: PublishPolicyRequest | WithdrawPolicyRequest,
        change: Callable[[Connection], R],
        response_type: type[R],
        now: Instant,
    ) -> R:
        """Make a change in one transaction, once for each request id. Changes of all processes are serialized."""
        return await self._database.write(_change_once, request, change, response_type, now)


def _change_once(
    connection: Connection,
    request: PublishPolicyRequest | WithdrawPolicyRequest,
    change: Callable[[Connection], R],
    response_type: type[R],
    now: Instant,
) -> R:
    lock_until_commit(connection, AdvisoryLock.POLICY_CHANGE)
    return answer_once(
        connection,
        tables.requests,
        request.DESCRIPTOR.name.removesuffix("Request"),
        request.request_id,
        request,
        now,
        lambda: change(connection),
        response_type=response_type,
    )
