"""Pending withdrawals of policies, proposed and approved without a server."""

from __future__ import annotations

from hutong.approval.v1.approval_service_pb2 import ListPendingChangesRequest
from hutong.policy.v1.policy_admin_service_pb2 import WithdrawPolicyRequest

from services.approval.approvals import Approvals, Decide, Made
from services.approval.convert import unpack
from services.approval.grants import EmergencyGrants
from services.approval.model import PendingChange, Proposal
from services.approval.servicer import ApprovalServicer
from services.domain.errors import Unavailable
from services.domain.instant import HOUR
from services.domain.names import format_pending_change
from services.policy import tables
from services.runtime.call import Call, current_actor, current_call
from services.runtime.caller import Caller
from services.runtime.clock import FixedClock
from services.runtime.page_tokens import PageTokens
from services.storage.engine import Database, open_database
from tests.support.policy.publishers import START

LIFE = 72 * HOUR
METHOD = "hutong.policy.v1.PolicyAdminService/WithdrawPolicy"
NAME = "jurisdictions/000000/policies/national@1"
A_REQUEST_ID = "01890000-0000-4000-8000-000000000001"
LI = Caller("authority", "authorities/000000/li", "000000")
WANG = Caller("authority", "authorities/000000/wang", "000000")


def act(caller: Caller) -> None:
    """Make a caller that of the current call."""
    call = Call("request")
    call.caller = caller
    current_call.set(call)


class Withdrawals:
    """Approvals of withdrawals that are noted in place of being made. The next `failures` of them fail."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database: Database = open_database(url)
        self.clock = FixedClock(START)
        self.grants = EmergencyGrants(
            self.database, tables.emergency_grants, tables.requests, self.clock, "authority", "000000"
        )
        self.approvals = Approvals(
            self.database, tables.pending_changes, tables.requests, self.clock, LIFE, self.grants
        )
        self.approvals.register(METHOD, self._make)
        self.made: list[tuple[str, str | None]] = []
        self.failures = 0

    async def _make(self, change: PendingChange, approve: Decide) -> Made:
        request = WithdrawPolicyRequest()
        unpack(change, request)
        await self.database.write(approve)
        if self.failures:
            self.failures -= 1
            raise Unavailable("DATABASE_UNAVAILABLE", "cut off")
        self.made.append((request.name, current_actor()))
        return Made(1, "token")

    async def propose(self, request_id: str = "", reason: str = "a slip") -> PendingChange:
        """Propose a withdrawal as Li."""
        act(LI)
        request = WithdrawPolicyRequest(name=NAME, reason=reason, request_id=request_id)
        return await self.approvals.propose(request, Proposal(METHOD, "authority", "000000", NAME, request))

    async def approve(self, change: PendingChange, caller: Caller = WANG) -> PendingChange:
        """Approve a change as a caller."""
        act(caller)
        return await self.approvals.approve(format_pending_change(change.change_id))

    async def list(self, **fields: object) -> list[str]:
        """Return the ids of the listed changes."""
        request = ListPendingChangesRequest(**fields)  # type: ignore[arg-type]
        response = await ApprovalServicer(self.approvals, self.grants, PageTokens()).ListPendingChanges(request, None)
        return [change.name.partition("/")[2] for change in response.pending_changes]
