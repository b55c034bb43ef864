"""Emergency grants. Under a grant, a caller approves its own changes while no second approver can be reached.

Grants are not kept in memory. Each approval reads its grant in its own transaction. A grant therefore ends in all
processes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import structlog
from hutong.approval.v1 import emergency_grant_pb2
from hutong.approval.v1.approval_service_pb2 import OpenEmergencyGrantRequest
from hutong_texts import english
from prometheus_client import Gauge
from sqlalchemy import Connection, Table

from services.approval.convert import grant_to_proto
from services.approval.grant_store import (
    GrantFilter,
    count_grants,
    end_grant,
    find_grant,
    find_open_grant,
    insert_grant,
    list_grants,
    review_grant,
    use_grant,
)
from services.approval.model import EmergencyGrant, is_same
from services.domain.errors import PermissionDenied
from services.domain.fields import known_region
from services.domain.instant import HOUR, format_instant, from_duration
from services.domain.names import format_emergency_grant, parse_emergency_grant
from services.domain.region import within
from services.domain.subject import mask_free_text
from services.runtime.audit import record_change
from services.runtime.call import current_caller
from services.runtime.caller import LOCAL
from services.runtime.clock import Clock
from services.runtime.ids import uuid7
from services.runtime.server.access.permits import Owner
from services.storage.engine import Database
from services.storage.idempotency import answer_once

GRANTS = Gauge(
    "hutong_emergency_grants", "Emergency grants that are open, or over and not reviewed", ["service", "state"]
)
_log = structlog.get_logger(__name__)


class EmergencyGrants:
    """The emergency grants of one service, for callers of the role `decider`.

    `memory` is the service's table of request ids, and `secrets` are the keys of its hashes. `node` is the region of
    this node.
    """

    def __init__(
        self,
        database: Database,
        table: Table,
        memory: Table,
        clock: Clock,
        decider: str,
        node: str,
        secrets: Sequence[bytes] = (),
    ) -> None:
        self._database = database
        self._table = table
        self._memory = memory
        self._clock = clock
        self._decider = decider
        self._node = node
        self._secrets = secrets
        self._service = table.name.removesuffix("_emergency_grants")

    async def open(self, request: OpenEmergencyGrantRequest) -> EmergencyGrant:
        """Open a grant for the current caller, once for each request id.

        Raises:
            InvalidArgument: REGION_UNKNOWN.
            PermissionDenied: NOT_PERMITTED, the caller's role decides no change of this service.
            FailedPrecondition: GRANT_NOT_REVIEWED, the caller has another grant that is not reviewed yet.
        """
        caller, now = current_caller(), self._clock.now()
        if caller.role not in {self._decider, LOCAL}:
            raise PermissionDenied(
                "NOT_PERMITTED",
                english("the caller decides on no change of this service"),
                metadata={"role": caller.role, "needed": self._decider},
            )
        region = known_region(request.region, "region") if request.region else ""
        grant = EmergencyGrant(
            uuid7(),
            caller.role,
            caller.name,
            caller.person,
            region or caller.region or self._node,
            mask_free_text(request.reason),
            now,
            now + (from_duration(request.open_duration) if request.HasField("open_duration") else HOUR),
        )
        name = format_emergency_grant(grant.grant_id)

        def store(connection: Connection) -> emergency_grant_pb2.EmergencyGrant:
            insert_grant(connection, self._table, grant)
            record_change(connection, name, region=grant.region, outcome="OPENED")
            return emergency_grant_pb2.EmergencyGrant(name=name)

        def write(connection: Connection) -> EmergencyGrant:
            answer = answer_once(
                connection,
                self._memory,
                request.DESCRIPTOR.name,
                request.request_id,
                request,
                now,
                partial(store, connection),
                response_type=emergency_grant_pb2.EmergencyGrant,
                secrets=self._secrets,
            )
            return find_grant(connection, self._table, parse_emergency_grant(answer.name))

        opened = await self._database.write(write)
        if opened.grant_id == grant.grant_id:
            self._warn("emergency grant opened", opened)
        return opened

    async def end(self, name: str) -> EmergencyGrant:
        """End a grant early. Raises NotFound."""
        return await self._close(name, None)

    async def review(self, name: str, note: str) -> EmergencyGrant:
        """Record the current caller's review of a grant. End the grant if it is still open.

        Raises:
            NotFound: there is no such grant.
            PermissionDenied: SAME_APPROVER, the caller holds the grant.
        """
        grant = await self._find(name)
        if is_same(current_caller(), grant.holder, grant.person):
            raise PermissionDenied(
                "SAME_APPROVER", english("another caller must review the grant"), metadata={"proposer": grant.holder}
            )
        return await self._close(name, mask_free_text(note))

    async def list_for_caller(
        self, region: str, *, include_reviewed: bool, before: str, limit: int
    ) -> list[EmergencyGrant]:
        """Return at most `limit` grants for the current caller, newest first, after the grant `before`."""
        role = current_caller().role
        wanted = GrantFilter(region, "" if role == LOCAL else role, include_reviewed)
        return await self._database.read(list_grants, self._table, wanted, before, limit)

    async def owner_of(self, name: str) -> Owner:
        """Return who may end and review a grant. Raises NotFound."""
        grant = await self._find(name)
        return Owner(grant.region, role=grant.role)

    async def find_for_caller(self, region: str) -> EmergencyGrant | None:
        """Return the current caller's open grant for a region; None if the caller has none."""
        found = await self._database.read(find_open_grant, self._table, current_caller(), self._clock.now())
        return found if found is not None and within(region, found.region) else None

    def use(self, connection: Connection, grant: EmergencyGrant, region: str) -> bool:
        """Count an approval under a grant, in the transaction of the approval. Return False if the grant has ended."""
        if not use_grant(connection, self._table, grant.grant_id, self._clock.now()):
            return False
        record_change(connection, format_emergency_grant(grant.grant_id), region=region, outcome="USED")
        return True

    async def count(self) -> None:
        """Set the metric of the grants. Raises Unavailable."""
        still_open, unreviewed = await self._database.read(count_grants, self._table, self._clock.now())
        GRANTS.labels(self._service, "open").set(still_open)
        GRANTS.labels(self._service, "unreviewed").set(unreviewed)

    def to_proto(self, grant: EmergencyGrant) -> emergency_grant_pb2.EmergencyGrant:
        """Return the message of a grant in its present state."""
        return grant_to_proto(grant, self._clock.now())

    async def _find(self, name: str) -> EmergencyGrant:
        return await self._database.read(find_grant, self._table, parse_emergency_grant(name))

    async def _close(self, name: str, note: str | None) -> EmergencyGrant:
        """End a grant if it is open. With a note, record a review too. Raises NotFound."""
        grant_id, by = parse_emergency_grant(name), current_caller().name

        def write(connection: Connection) -> tuple[EmergencyGrant, bool]:
            now = self._clock.now()
            is_ended = end_grant(connection, self._table, grant_id, by, now)
            is_reviewed = note is not None and review_grant(connection, self._table, grant_id, by, note, now)
            grant = find_grant(connection, self._table, grant_id)
            if is_ended or is_reviewed:
                outcome = "REVIEWED" if is_reviewed else "ENDED"
                record_change(connection, name, region=grant.region, count=grant.approved_count, outcome=outcome)
            return grant, is_ended or is_reviewed

        grant, is_changed = await self._database.write(write)
        if is_changed:
            self._warn("emergency grant ended" if note is None else "emergency grant reviewed", grant)
        return grant

    def _warn(self, event: str, grant: EmergencyGrant) -> None:
        """Log a warning for the operators."""
        _log.warning(
            event,
            service=self._service,
            grant=format_emergency_grant(grant.grant_id),
            holder=grant.holder,
            region=grant.region,
            until=format_instant(grant.expire_time),
            approved=grant.approved_count,
        )
