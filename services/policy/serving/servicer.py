"""Converts requests to calls of the Policy service, and their outcomes to responses.

The contract documents each RPC.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from hutong.policy.v1.policy_admin_service_pb2 import (
    PublishPolicyRequest,
    PublishPolicyResponse,
    WithdrawPolicyRequest,
    WithdrawPolicyResponse,
)
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceServicer
from hutong.policy.v1.policy_service_pb2 import (
    BatchResolvePoliciesRequest,
    BatchResolvePoliciesResponse,
    GetPolicyRequest,
    GetPolicyResponse,
    ListPoliciesRequest,
    ListPoliciesResponse,
    ListPolicyRevisionsRequest,
    ListPolicyRevisionsResponse,
    ResolvePolicyItem,
    ResolvePolicyRequest,
    ResolvePolicyResponse,
    WatchPoliciesRequest,
    WatchPoliciesResponse,
)
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceServicer
from hutong_texts import english

from services.domain.errors import HutongError, InvalidArgument, NotFound, PermissionDenied
from services.domain.names import parse_policy
from services.domain.region import NATION
from services.policy.convert import revision_to_proto
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.serving.floor_approvals import FloorApprovals
from services.policy.serving.listing import TOKENS, list_policies
from services.policy.serving.publisher import PolicyPublisher
from services.policy.serving.resolver import PolicyResolver
from services.policy.serving.token_check import TokenCheck
from services.policy.serving.watch import Watch
from services.runtime.call import current_call, may_see_actors
from services.runtime.caller import LOCAL
from services.runtime.server.status import to_status
from services.runtime.server.validation import check

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class PolicyServicer(PolicyServiceServicer):
    """PolicyService: reads and resolves policies.

    `require_founded` waits until this node may answer for its region. It raises the error of `Founding.require`.
    """

    def __init__(
        self,
        cache: PolicyBookCache,
        resolver: PolicyResolver,
        watch: Watch,
        token_check: TokenCheck,
        require_founded: Callable[[], Awaitable[None]],
    ) -> None:
        self._require_founded = require_founded
        self._token_check = token_check
        self._cache = cache
        self._resolver = resolver
        self._watch = watch

    async def GetPolicy(self, request: GetPolicyRequest, context: Context) -> GetPolicyResponse:
        region, policy_id, number = parse_policy(request.name)
        members = self._cache.book.series(region, policy_id)
        found = [revision for revision in members if number in (None, revision.revision)]
        if not found:
            raise NotFound.resource(request.name)
        return GetPolicyResponse(policy=revision_to_proto(found[-1], with_actors=may_see_actors()))

    async def ListPolicies(self, request: ListPoliciesRequest, context: Context) -> ListPoliciesResponse:
        return list_policies(self._cache, request)

    async def ListPolicyRevisions(
        self, request: ListPolicyRevisionsRequest, context: Context
    ) -> ListPolicyRevisionsResponse:
        region, policy_id, _ = parse_policy(request.name)
        members = self._cache.book.series(region, policy_id)
        if not members:
            raise NotFound.resource(request.name)
        position = TOKENS.position(request, (int,))
        below = position[0] if position else members[-1].revision + 1
        rest = [revision for revision in reversed(members) if revision.revision < below]
        shown, token = TOKENS.page(request, rest, lambda revision: [revision.revision])
        return ListPolicyRevisionsResponse(
            policies=[revision_to_proto(revision, with_actors=may_see_actors()) for revision in shown],
            next_page_token=token,
        )

    async def ResolvePolicy(self, request: ResolvePolicyRequest, context: Context) -> ResolvePolicyResponse:
        await self._require_founded()
        await self._token_check.require(request.at_least_as_fresh)
        return self._resolver.resolve(request)

    async def BatchResolvePolicies(
        self, request: BatchResolvePoliciesRequest, context: Context
    ) -> BatchResolvePoliciesResponse:
        await self._require_founded()
        return BatchResolvePoliciesResponse(items=[await self._resolve_item(question) for question in request.requests])

    async def _resolve_item(self, question: ResolvePolicyRequest) -> ResolvePolicyItem:
        try:
            check(question)
            if question.at_least_as_fresh:
                await self._token_check.require(question.at_least_as_fresh)
            response = self._resolver.resolve(question)
            sequence = self._cache.sequence
            if response.HasField("by_origin"):
                return ResolvePolicyItem(by_origin=response.by_origin, sequence=sequence)
            return ResolvePolicyItem(effective_policy=response.effective_policy, sequence=sequence)
        except HutongError as error:
            return ResolvePolicyItem(error=to_status(error))

    async def WatchPolicies(
        self, request: WatchPoliciesRequest, context: Context
    ) -> AsyncIterator[WatchPoliciesResponse]:
        async for message in self._watch.stream(request):
            yield message


class PolicyAdminServicer(PolicyAdminServiceServicer):
    """PolicyAdminService: publishes and withdraws policies."""

    def __init__(self, publisher: PolicyPublisher, floors: FloorApprovals, cache: PolicyBookCache) -> None:
        self._publisher = publisher
        self._floors = floors
        self._cache = cache

    async def PublishPolicy(self, request: PublishPolicyRequest, context: Context) -> PublishPolicyResponse:
        if request.policy.floor or self._is_floor(request.policy.name):
            _require_nation()
            return await self._floors.publish(request)
        return await self._publisher.publish(request)

    async def WithdrawPolicy(self, request: WithdrawPolicyRequest, context: Context) -> WithdrawPolicyResponse:
        if self._is_floor(request.name):
            _require_nation()
            return await self._floors.withdraw(request)
        return await self._publisher.withdraw(request)

    def _is_floor(self, name: str) -> bool:
        """Whether any revision of a series is a floor. If so, any other revision in its place would end the floor."""
        try:
            region, policy_id, _ = parse_policy(name)
        except InvalidArgument:
            # The publisher refuses a malformed name, together with all other faults.
            return False
        return any(revision.floor for revision in self._cache.book.series(region, policy_id))


def _require_nation() -> None:
    """Check that the caller may write floors, which bind every region below.

    Raises:
        PermissionDenied: NOT_PERMITTED, the caller is not the nation's authority.
    """
    call = current_call.get()
    if call is not None and call.caller.role != LOCAL and call.caller.region != NATION:
        needed = f"authority: own region {NATION} for a floor"
        raise PermissionDenied(
            "NOT_PERMITTED",
            english("only the nation's authority publishes and withdraws floors"),
            metadata={"role": call.caller.role, "needed": needed},
        )
