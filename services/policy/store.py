"""Where policies live. `Store` is what the service needs of it; `SqlStore` is SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import (
    PublishPolicyRequest,
    PublishPolicyResponse,
    WithdrawPolicyRequest,
    WithdrawPolicyResponse,
)
from sqlalchemy import Connection, insert, update

from services.domain.instant import Instant
from services.policy import tables
from services.policy.changes import Changes, append_change, newest_sequence, policy_row, read_changes, take_turn
from services.policy.model import Revision
from services.policy.upstream.store import Received, UpstreamPlace, read_place, take_in
from services.storage.engine import Database
from services.storage.idempotency import answer_once

_policies = tables.policies

Judge = Callable[[Changes, Instant], "Verdict"]
"""Judges a publication against everything that changed since the caller last looked, under the lock."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to store, if anything, and how to answer."""

    revision: Revision
    statement: policy_pb2.Policy | None
    answer: Callable[[], PublishPolicyResponse]


class Store(Protocol):
    """What the Policy service needs of a store. Every write is durable when it returns."""

    async def read_changes(self, after: int) -> Changes:
        """Every revision that was published or withdrawn after a sequence."""
        ...

    async def newest_sequence(self) -> int:
        """The sequence of the last change; 0 before the first."""
        ...

    async def publish(
        self, request: PublishPolicyRequest, after: int, judge: Judge, now: Instant
    ) -> PublishPolicyResponse:
        """Store a publication that is judged good, one at a time over all processes."""
        ...

    async def withdraw(
        self,
        request: WithdrawPolicyRequest,
        after: int,
        judge: Callable[[Changes], Revision],
        answer: Callable[[Revision], WithdrawPolicyResponse],
        now: Instant,
    ) -> WithdrawPolicyResponse:
        """Withdraw the revision that `judge` names, one at a time over all processes."""
        ...

    async def read_upstream(self) -> UpstreamPlace | None:
        """Up to where the nation's policies have come; None before its first word."""
        ...

    async def receive(self, revisions: Sequence[Received], place: UpstreamPlace | None, now: Instant) -> list[str]:
        """Store revisions as the nation has them, and up to where they go; the names of those known otherwise."""
        ...


class SqlStore:
    """A store in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_changes(self, after: int) -> Changes:
        """Every revision that was published or withdrawn after a sequence."""
        return await self._database.read(read_changes, after)

    async def newest_sequence(self) -> int:
        """The sequence of the last change; 0 before the first."""
        return await self._database.read(newest_sequence)

    async def publish(
        self, request: PublishPolicyRequest, after: int, judge: Judge, now: Instant
    ) -> PublishPolicyResponse:
        """Store a publication that is judged good, one at a time over all processes."""

        def run(connection: Connection) -> PublishPolicyResponse:
            verdict = judge(read_changes(connection, after), now)
            if verdict.statement is not None:
                connection.execute(insert(_policies).values(policy_row(verdict.revision, verdict.statement)))
                append_change(connection, verdict.revision, now)
            return verdict.answer()

        def work(connection: Connection) -> PublishPolicyResponse:
            take_turn(connection)
            return answer_once(
                connection,
                tables.requests,
                "PublishPolicy",
                request.request_id,
                request,
                now,
                lambda: run(connection),
                response_type=PublishPolicyResponse,
            )

        return await self._database.write(work)

    async def withdraw(
        self,
        request: WithdrawPolicyRequest,
        after: int,
        judge: Callable[[Changes], Revision],
        answer: Callable[[Revision], WithdrawPolicyResponse],
        now: Instant,
    ) -> WithdrawPolicyResponse:
        """Withdraw the revision that `judge` names, one at a time over all processes."""

        def run(connection: Connection) -> WithdrawPolicyResponse:
            revision = replace(
                judge(read_changes(connection, after)), withdraw_time=now, withdraw_reason=request.reason
            )
            connection.execute(
                update(_policies)
                .where(
                    _policies.c.region == revision.region,
                    _policies.c.policy_id == revision.policy_id,
                    _policies.c.revision == revision.revision,
                )
                .values(withdraw_time=now, withdraw_reason=request.reason)
            )
            append_change(connection, revision, now)
            return answer(revision)

        def work(connection: Connection) -> WithdrawPolicyResponse:
            take_turn(connection)
            return answer_once(
                connection,
                tables.requests,
                "WithdrawPolicy",
                request.request_id,
                request,
                now,
                lambda: run(connection),
                response_type=WithdrawPolicyResponse,
            )

        return await self._database.write(work)

    async def read_upstream(self) -> UpstreamPlace | None:
        """Up to where the nation's policies have come; None before its first word."""
        return await self._database.read(read_place)

    async def receive(self, revisions: Sequence[Received], place: UpstreamPlace | None, now: Instant) -> list[str]:
        """Store revisions as the nation has them, and up to where they go; the names of those known otherwise."""
        return await self._database.write(take_in, revisions, place, now)
