"""Makes changes that need two callers. One caller proposes a change, and another caller approves it.

In an emergency the proposer may approve the change.

The service that owns a change stores a proposal instead of making the change. It also registers the code that makes the
change. An approved change runs the same code as a change without approval. Its actor is the proposer. Its request id is
the id of the pending change, so that a repeated approval continues an interrupted change and never makes a change
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

import structlog
from google.protobuf.message import Message
from hutong.approval.v1 import pending_change_pb2
from hutong_texts import english
from prometheus_client import Gauge
from sqlalchemy import Connection, Table

from services.approval.convert import change_to_proto, pack
from services.approval.grants import EmergencyGrants
from services.approval.model import EmergencyGrant, PendingChange, Proposal, State
from services.approval.store import (
    ChangeFilter,
    complete,
    count_open,
    decide,
    find_change,
    insert_change,
    list_changes,
    not_pending,
)
from services.domain.errors import FailedPrecondition, HutongError, PermissionDenied, ResourceExhausted, Violation
from services.domain.instant import HOUR, Span
from services.domain.names import format_pending_change, parse_pending_change
from services.runtime.audit import current_audit, note_subjects, record_change
from services.runtime.call import current_call, current_caller, current_requester
from services.runtime.caller import LOCAL
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.runtime.server.access.permits import Owner
from services.storage.engine import Database
from services.storage.idempotency import answer_once, find_answer

WAITING = Gauge("hutong_pending_changes", "Changes that wait for a second approver", ["service"])
MOST_OPEN = 100
"""The most changes of one proposer that may wait for approval. People propose few changes. Too many changes of one
proposer would hide the changes of others from the approvers."""
COUNT_SECONDS = 60.0
"""The time between two counts of the waiting changes for the metric, in seconds. Changes wait for hours."""
_DECIDERS = {"supervisor", "authority"}
"""The roles that decide changes. Such a caller is shown only the changes that its role may decide."""
_log = structlog.get_logger(__name__)

Decide = Callable[[Connection], None]
"""Approves the change in a transaction. Call it after all other statements of the transaction."""


class Made(NamedTuple):
    """What an approved change did: the number of recalled results (1 for other changes), and the consistency token."""

    changed_count: int
    consistency_token: str = ""


Make = Callable[[PendingChange, Decide], Awaitable[Made]]
"""Makes an approved change. It calls `Decide` in its first transaction."""
FindSubjects = Callable[[PendingChange], Awaitable[Sequence[bytes]]]
"""Returns the subject keys of the persons that a change is about."""


class Approvals:
    """The pending changes of one service.

    `memory` is the service's table of request ids, and `secrets` are the keys of its hashes. A proposal lapses after
    `life`. `grants` are the emergency grants under which proposers approve their own changes.
    """

    def __init__(
        self,
        database: Database,
        table: Table,
        memory: Table,
        clock: Clock,
        life: Span,
        grants: EmergencyGrants,
        secrets: Sequence[bytes] = (),
    ) -> None:
        self._database = database
        self._table = table
        self._memory = memory
        self._clock = clock
        self._life = life
        self._grants = grants
        self._secrets = secrets
        self._makers: dict[str, Make] = {}
        self._finders: dict[str, FindSubjects] = {}

    def register(self, method: str, make: Make, find_subjects: FindSubjects | None = None) -> None:
        """Register the function that makes the changes which an RPC proposes. `method` is the RPC.

        `find_subjects` is required if the changes are about persons.
        """
        self._makers[method] = make
        if find_subjects is not None:
            self._finders[method] = find_subjects

    def is_needed(self) -> bool:
        """Return whether the current call needs an approver. A call needs none if its caller is not identified."""
        return current_caller().role not in {"", LOCAL}

    async def find_proposed(self, request: Message) -> PendingChange | None:
        """Return the change that an earlier request with the same id has proposed; None if there is none.

        Raises:
            InvalidArgument: REQUEST_ID_REUSED, the id was used before with other content or by another caller.
        """
        request_id: str = request.request_id  # type: ignore[attr-defined]
        if not request_id:
            return None
        requester = current_requester()

        def read(connection: Connection) -> PendingChange | None:
            answer = find_answer(
                connection,
                self._memory,
                _key(request),
                request_id,
                request,
                response_type=pending_change_pb2.PendingChange,
                requester=requester,
                secrets=self._secrets,
            )
            return None if answer is None else find_change(connection, self._table, parse_pending_change(answer.name))

        return await self._database.read(read)

    async def propose(self, request: Message, proposal: Proposal) -> PendingChange:
        """Store a proposal of the current caller, once for each request id.

        Raises:
            ResourceExhausted: BUDGET_EXCEEDED, MOST_OPEN changes of the caller are waiting.
        """
        now, caller = self._clock.now(), current_caller()
        change = PendingChange(
            uuid7(),
            proposal.method,
            proposal.role,
            proposal.region,
            proposal.object,
            pack(proposal.change),
            proposal.item_count,
            caller.name,
            caller.person,
            now,
            now + self._life,
            int(State.PENDING),
            "",
            None,
            "",
            None,
            0,
            "",
        )
        name = format_pending_change(change.change_id)

        def store(connection: Connection) -> pending_change_pb2.PendingChange:
            if count_open(connection, self._table, now, caller.name) >= MOST_OPEN:
                raise _too_many(caller.name)
            insert_change(connection, self._table, change)
            record_change(connection, name, region=proposal.region, count=0, outcome="PROPOSED")
            return pending_change_pb2.PendingChange(name=name)

        def write(connection: Connection) -> PendingChange:
            answer = answer_once(
                connection,
                self._memory,
                _key(request),
                request.request_id,  # type: ignore[attr-defined]
                request,
                now,
                partial(store, connection),
                response_type=pending_change_pb2.PendingChange,
                secrets=self._secrets,
            )
            return find_change(connection, self._table, parse_pending_change(answer.name))

        return await self._database.write(write)

    async def find(self, name: str) -> PendingChange:
        """Return a change by its name. Raises NotFound."""
        return await self._database.read(find_change, self._table, parse_pending_change(name))

    async def show(self, name: str) -> PendingChange:
        """Return a change to show it to the caller. The audit records whom the change is about. Raises NotFound."""
        change = await self.find(name)
        if (find_subjects := self._finders.get(change.method)) is not None:
            note_subjects(await find_subjects(change))
        return change

    async def list_for_caller(
        self, region: str, lab: str, *, include_decided: bool, before: str, limit: int
    ) -> list[PendingChange]:
        """Return at most `limit` changes for the current caller, newest first, after the change `before`."""
        role = current_caller().role
        wanted = ChangeFilter(
            region, lab, role if role in _DECIDERS else "", None if include_decided else self._clock.now()
        )
        return await self._database.read(list_changes, self._table, wanted, before, limit)

    async def owner_of(self, name: str) -> Owner:
        """Return who may decide a change. Raises NotFound."""
        change = await self.find(name)
        return Owner(change.region, role=change.role)

    async def approve(self, name: str) -> PendingChange:
        """Approve a change for the current caller and make it.

        Raises:
            NotFound: there is no such change.
            PermissionDenied: SAME_APPROVER, the caller is the proposer and holds no emergency grant.
            FailedPrecondition: NOT_PENDING, PROPOSER_DENIED, or the reason why the change cannot be made now.
        """
        change, caller, now = await self.find(name), current_caller(), self._clock.now()
        if change.complete_time is not None:
            return change
        grant: EmergencyGrant | None = None
        if change.is_by(caller):
            # If the caller has approved the change under a grant before, the change is completed even if the grant has
            # ended since.
            is_continued = change.grant_id is not None and change.decider == caller.name
            grant = None if is_continued else await self._grants.find_for_caller(change.region)
            if grant is None and not is_continued:
                raise _same_approver(change)
        state = change.state_at(now)
        if state not in {State.PENDING, State.APPROVED}:
            raise not_pending(state)
        if state == State.PENDING and _is_denied(change.proposer):
            raise FailedPrecondition(
                "PROPOSER_DENIED",
                english("the proposer is on the deny-list by now; reject the change"),
                metadata={"proposer": change.proposer},
            )
        _act_for(change.proposer, is_emergency=grant is not None or change.grant_id is not None)
        made = await self._makers[change.method](change, partial(self._approve, change, caller.name, grant))
        return await self._database.write(complete, self._table, change.change_id, *made, self._clock.now())

    async def reject(self, name: str, reason: str) -> PendingChange:
        """Reject a change for the current caller. Raises NotFound and FailedPrecondition NOT_PENDING."""
        change_id, decider = parse_pending_change(name), current_caller().name

        def write(connection: Connection) -> PendingChange:
            if decide(connection, self._table, change_id, State.REJECTED, decider, self._clock.now(), reason):
                record_change(connection, name, count=0, outcome="REJECTED")
            return find_change(connection, self._table, change_id)

        return await self._database.write(write)

    async def count(self) -> None:
        """Count the waiting changes and the grants periodically, for the metrics. A background job."""
        gauge = WAITING.labels(self._table.name.removesuffix("_pending_changes"))
        while True:
            try:
                # The check fails for a database that is not migrated yet and lacks the table.
                await self._database.check()
                gauge.set(await self._database.read(count_open, self._table, self._clock.now()))
                await self._grants.count()
            except HutongError as error:
                _log.warning("pending changes are not counted until the next round", reason=error.reason)
            await asyncio.sleep(COUNT_SECONDS)

    def to_proto(self, change: PendingChange) -> pending_change_pb2.PendingChange:
        """Return the message of a change in its present state."""
        return change_to_proto(change, self._clock.now())

    def _approve(
        self, change: PendingChange, decider: str, grant: EmergencyGrant | None, connection: Connection
    ) -> None:
        now, grant_id = self._clock.now(), None if grant is None else grant.grant_id
        is_new = decide(connection, self._table, change.change_id, State.APPROVED, decider, now, grant_id=grant_id)
        if not is_new:
            return
        # The grant may have ended since it was read.
        if grant is not None and not self._grants.use(connection, grant, change.region):
            raise _same_approver(change)
        name = format_pending_change(change.change_id)
        record_change(connection, name, region=change.region, count=change.item_count, outcome="APPROVED")


def _same_approver(change: PendingChange) -> PermissionDenied:
    return PermissionDenied(
        "SAME_APPROVER", english("another caller must approve the change"), metadata={"proposer": change.proposer}
    )


def _too_many(name: str) -> ResourceExhausted:
    text = english("{name} may have {most_open} changes that wait for an approver", name=name, most_open=MOST_OPEN)
    return ResourceExhausted(
        "BUDGET_EXCEEDED",
        text,
        violations=[Violation("", "BUDGET_EXCEEDED", text, name)],
        metadata={"caller": name, "what": "pending changes", "limit": str(MOST_OPEN)},
        retry_after=HOUR,
    )


def _is_denied(name: str) -> bool:
    call = current_call.get()
    return call is not None and call.is_denied(name)


def _act_for(proposer: str, *, is_emergency: bool) -> None:
    """Make the proposer the actor of the current call's change. The audit names both the proposer and the caller.

    `is_emergency` says that the proposer approves the change under an emergency grant. Each row of the audit then says
    so.
    """
    call, audit = current_call.get(), current_audit.get()
    if call is not None:
        call.acting_for = proposer
    if audit is not None:
        audit.act_for(proposer)
        audit.is_emergency = is_emergency


def _key(request: Message) -> str:
    """Return the text that the table of request ids stores as the method of a proposing request."""
    return f"{request.DESCRIPTOR.name} proposed"
