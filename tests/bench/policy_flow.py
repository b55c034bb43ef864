"""How soon a policy that the nation publishes governs in a province."""

from __future__ import annotations

import asyncio
import time

import grpc
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyRequest
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from hutong.type.v1 import purpose_pb2

from services.domain.instant import to_timestamp
from services.runtime.clock import SystemClock

POLICY = "jurisdictions/000000/policies/bench-flow"
PURPOSE = purpose_pb2.PURPOSE_LARGE_GATHERING
REGION = "410105"
PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.002
"""Between two questions whether it governs yet."""


async def time_publications(nation: str, province: str, count: int) -> list[float]:
    """Seconds from before each of `count` publications at the nation's Policy until it governs in Henan's.

    Addresses are those of Policy services. Each publication is a new revision of one policy, beginning now.
    """
    delays = []
    async with grpc.aio.insecure_channel(nation) as above, grpc.aio.insecure_channel(province) as below:
        admin, policies = PolicyAdminServiceStub(above), PolicyServiceStub(below)
        await _await_governing(policies, "")
        for number in range(1, count + 1):
            begun = time.perf_counter()
            response = await admin.PublishPolicy(PublishPolicyRequest(policy=_policy(number)))
            await _await_governing(policies, response.policy.name)
            delays.append(time.perf_counter() - begun)
    return delays


def _policy(number: int) -> policy_pb2.Policy:
    policy = policy_pb2.Policy(name=POLICY, title=f"made up for a bench, {number}", purposes=[PURPOSE])
    policy.test_required.window.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
    policy.test_required.window.duration.seconds = 86_400
    policy.effective_start_time.CopyFrom(to_timestamp(SystemClock().now()))
    return policy


async def _await_governing(policies: PolicyServiceStub, name: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await _resolve(policies)).governing != name:  # noqa: ASYNC110 - the condition is another process's
            await asyncio.sleep(PAUSE_SECONDS)


async def _resolve(policies: PolicyServiceStub) -> policy_pb2.EffectivePolicy:
    request = ResolvePolicyRequest(region=REGION, purpose=PURPOSE)
    response = await policies.ResolvePolicy(request, timeout=PATIENCE_SECONDS)  # type: ignore[misc]
    effective: policy_pb2.EffectivePolicy = response.effective_policy
    return effective
