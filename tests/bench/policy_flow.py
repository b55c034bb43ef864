"""Times how soon a policy that the nation publishes governs in a province."""

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
TIMEOUT_SECONDS = 30.0
"""The longest wait for one publication. The bench fails after it."""
PAUSE_SECONDS = 0.002
"""The wait between two questions. It is the resolution of the measurement."""


async def time_publications(nation: str, province: str, count: int) -> list[float]:
    """Publish `count` revisions of one policy at the nation, each in force from now on.

    `nation` and `province` are addresses of Policy services. Return the seconds from the start of each publication
    until the revision governs in the province.
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
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await _resolve(policies)).governing != name:  # noqa: ASYNC110 - the condition is another process's
            await asyncio.sleep(PAUSE_SECONDS)


async def _resolve(policies: PolicyServiceStub) -> policy_pb2.EffectivePolicy:
    request = ResolvePolicyRequest(region=REGION, purpose=PURPOSE)
    response = await policies.ResolvePolicy(request, timeout=TIMEOUT_SECONDS)  # type: ignore[misc]
    effective: policy_pb2.EffectivePolicy = response.effective_policy
    return effective
