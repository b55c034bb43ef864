"""Where policies live. `Store` is what the service needs of it; `SqlStore` is SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import (
    PublishPolicyRequest,
    PublishPolicyResponse,
    WithdrawPolicyRequest,
    WithdrawPolicyResponse,
)
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.engine import Row

from services.domain.instant import Instant
from services.domain.region import NATION
from services.policy import tables
from services.policy.convert import revision_from_proto
from services.policy.model import Revision
from services.storage.engine import Database
from services.storage.requests import answer_once

_LOCK_KEY = 0x48755062
"""Of the advisory lock that publications hold until their commit, so that they take turns on every process."""

_policies = tables.policies
_changes = tables.policy_changes
_places = tables.upstream_places


@dataclass(frozen=True, slots=True)
class Changes:
    """Revisions as they stand now, of everything that changed, and the sequence of the last change."""

    sequence: int
    revisions: Sequence[tuple[int, Revision]]


class UpstreamPlace(NamedTuple):
    """Up to where the nation's policies have come: the cursor of its watch, and an instant by its clock."""

    cursor: str
    as_of_time: Instant


class Received(NamedTuple):
    """A revision as the nation tells it, and the statement it was made from."""

    revision: Revision
    statement: policy_pb2.Policy


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
        """Up to where the nation's policies have come; None before the first word of it."""
        ...

    async def receive(self, revisions: Sequence[Received], place: UpstreamPlace, now: Instant) -> list[str]:
        """Store revisions as the nation has them, and up to where they go; the names of those that cannot be."""
        ...


class SqlStore:
    """A store in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_changes(self, after: int) -> Changes:
        """Every revision that was published or withdrawn after a sequence."""
        return await self._database.read(_read_changes, after)

    async def newest_sequence(self) -> int:
        """The sequence of the last change; 0 before the first."""
        return await self._database.read(_newest_sequence)

    async def publish(
        self, request: PublishPolicyRequest, after: int, judge: Judge, now: Instant
    ) -> PublishPolicyResponse:
        """Store a publication that is judged good, one at a time over all processes."""

        def run(connection: Connection) -> PublishPolicyResponse:
            verdict = judge(_read_changes(connection, after), now)
            if verdict.statement is not None:
                connection.execute(insert(_policies).values(policy_row(verdict.revision, verdict.statement)))
                _append_change(connection, verdict.revision, now)
            return verdict.answer()

        def work(connection: Connection) -> PublishPolicyResponse:
            _take_turn(connection)
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
                judge(_read_changes(connection, after)), withdraw_time=now, withdraw_reason=request.reason
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
            _append_change(connection, revision, now)
            return answer(revision)

        def work(connection: Connection) -> WithdrawPolicyResponse:
            _take_turn(connection)
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
        """Up to where the nation's policies have come; None before the first word of it."""
        return await self._database.read(_read_upstream)

    async def receive(self, revisions: Sequence[Received], place: UpstreamPlace, now: Instant) -> list[str]:
        """Store revisions as the nation has them, and up to where they go; the names of those that cannot be."""

        def work(connection: Connection) -> list[str]:
            if revisions:
                _take_turn(connection)
            refused = [one.revision.name for one in revisions if not _receive(connection, one, now)]
            connection.execute(delete(_places))
            connection.execute(insert(_places).values(region=NATION, **place._asdict()))
            return refused

        return await self._database.write(work)


def _read_upstream(connection: Connection) -> UpstreamPlace | None:
    row = connection.execute(select(_places.c.cursor, _places.c.as_of_time)).first()
    return None if row is None else UpstreamPlace(row.cursor, row.as_of_time)


def _receive(connection: Connection, received: Received, now: Instant) -> bool:
    """Store one revision as it stands at the nation. What is known of it stays: False when it is not the same one."""
    revision = received.revision
    its = (
        _policies.c.region == revision.region,
        _policies.c.policy_id == revision.policy_id,
        _policies.c.revision == revision.revision,
    )
    known = connection.execute(select(_policies.c.content_hash, _policies.c.withdraw_time).where(*its)).first()
    if known is None:
        connection.execute(insert(_policies).values(policy_row(revision, received.statement)))
    elif known.content_hash != revision.content_hash:
        return False
    elif revision.withdraw_time is None or known.withdraw_time is not None:
        return True
    withdrawal = {"withdraw_time": revision.withdraw_time, "withdraw_reason": revision.withdraw_reason}
    connection.execute(update(_policies).where(*its).values(withdrawal))
    _append_change(connection, revision, now)
    return True


def _take_turn(connection: Connection) -> None:
    """Wait until no other publication is under way; on SQLite the one writer is turn enough."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")


def _newest_sequence(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(_changes.c.sequence), 0))).scalar_one())


def _read_changes(connection: Connection, after: int) -> Changes:
    """Each changed revision once, under the sequence of its last change, in that order."""
    last = (
        select(
            _changes.c.region,
            _changes.c.policy_id,
            _changes.c.revision,
            func.max(_changes.c.sequence).label("sequence"),
        )
        .where(_changes.c.sequence > after)
        .group_by(_changes.c.region, _changes.c.policy_id, _changes.c.revision)
        .subquery()
    )
    query = (
        select(last.c.sequence, _policies)
        .join(
            last,
            (last.c.region == _policies.c.region)
            & (last.c.policy_id == _policies.c.policy_id)
            & (last.c.revision == _policies.c.revision),
        )
        .order_by(last.c.sequence)
    )
    revisions = [(int(row.sequence), _from_row(row)) for row in connection.execute(query)]
    return Changes(revisions[-1][0] if revisions else after, revisions)


def _from_row(row: Row) -> Revision:  # type: ignore[type-arg]
    bare = policy_pb2.Policy.FromString(row.statement)
    revision = revision_from_proto(bare, row.revision, row.publish_time, row.retroactive_reason, row.content_hash)
    if row.withdraw_time is None:
        return revision
    return replace(revision, withdraw_time=row.withdraw_time, withdraw_reason=row.withdraw_reason)


def policy_row(revision: Revision, statement: policy_pb2.Policy) -> dict[str, Any]:
    """The row of a revision that is published."""
    return {
        "region": revision.region,
        "policy_id": revision.policy_id,
        "revision": revision.revision,
        "title": revision.title,
        "floor": revision.floor,
        "effective_start_time": revision.start,
        "effective_end_time": revision.end,
        "statement": statement.SerializeToString(deterministic=True),
        "content_hash": revision.content_hash,
        "retroactive_reason": revision.retroactive_reason,
        "publish_time": revision.publish_time,
        "withdraw_reason": "",
    }


def change_row(revision: Revision, sequence: int, now: Instant) -> dict[str, Any]:
    """The row of a change: which revision, and where it stands in the order of all changes."""
    return {
        "sequence": sequence,
        "region": revision.region,
        "policy_id": revision.policy_id,
        "revision": revision.revision,
        "commit_time": now,
    }


def _append_change(connection: Connection, revision: Revision, now: Instant) -> None:
    connection.execute(insert(_changes).values(change_row(revision, _newest_sequence(connection) + 1, now)))
