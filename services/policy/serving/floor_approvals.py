"""Changes of floors. The publication and the withdrawal of a floor need a second approver."""

from __future__ import annotations

from hutong.policy.v1.policy_admin_service_pb2 import (
    PublishPolicyRequest,
    PublishPolicyResponse,
    WithdrawPolicyRequest,
    WithdrawPolicyResponse,
)

from services.approval.approvals import Approvals, Decide, Made
from services.approval.convert import unpack
from services.approval.model import PendingChange, Proposal
from services.domain.names import format_policy, parse_policy
from services.policy.serving.publisher import PolicyPublisher

PUBLISH = "hutong.policy.v1.PolicyAdminService/PublishPolicy"
WITHDRAW = "hutong.policy.v1.PolicyAdminService/WithdrawPolicy"
_AUTHORITY = "authority"


class FloorApprovals:
    """Proposes changes of floors, and makes the approved changes."""

    def __init__(self, approvals: Approvals, publisher: PolicyPublisher) -> None:
        self._approvals = approvals
        self._publisher = publisher
        approvals.register(PUBLISH, self._make_publication)
        approvals.register(WITHDRAW, self._make_withdrawal)

    async def publish(self, request: PublishPolicyRequest) -> PublishPolicyResponse:
        """Check the publication of a floor and propose it. If the floor was published before, answer at once."""
        if request.validate_only or not self._approvals.is_needed():
            return await self._publisher.publish(request)
        change = await self._approvals.find_proposed(request)
        if change is not None:
            return PublishPolicyResponse(pending_change=self._approvals.to_proto(change))
        response, is_new = await self._publisher.validate(request)
        if not is_new:
            return await self._publisher.publish(request)
        region, policy_id, _ = parse_policy(request.policy.name, "policy.name")
        name = format_policy(region, policy_id)
        change = await self._approvals.propose(request, Proposal(PUBLISH, _AUTHORITY, region, name, request))
        response.pending_change.CopyFrom(self._approvals.to_proto(change))
        return response

    async def withdraw(self, request: WithdrawPolicyRequest) -> WithdrawPolicyResponse:
        """Check the withdrawal of a floor and propose it."""
        if request.validate_only or not self._approvals.is_needed():
            return await self._publisher.withdraw(request)
        change = await self._approvals.find_proposed(request)
        if change is not None:
            return WithdrawPolicyResponse(pending_change=self._approvals.to_proto(change))
        response = await self._publisher.validate_withdrawal(request)
        region, _, _ = parse_policy(request.name)
        change = await self._approvals.propose(request, Proposal(WITHDRAW, _AUTHORITY, region, request.name, request))
        response.pending_change.CopyFrom(self._approvals.to_proto(change))
        return response

    async def _make_publication(self, change: PendingChange, approve: Decide) -> Made:
        request = PublishPolicyRequest()
        unpack(change, request)
        request.request_id = change.change_id
        response = await self._publisher.publish(request, approve, change.create_time)
        return Made(1, response.consistency_token)

    async def _make_withdrawal(self, change: PendingChange, approve: Decide) -> Made:
        request = WithdrawPolicyRequest()
        unpack(change, request)
        request.request_id = change.change_id
        response = await self._publisher.withdraw(request, approve)
        return Made(1, response.consistency_token)
