"""A small real Policy for tests of Verification: publishes, resolves by ancestry, and tells watchers of each change."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from hutong.policy.v1 import policy_admin_service_pb2 as admin_pb2
from hutong.policy.v1 import policy_admin_service_pb2_grpc as admin_grpc
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1 import policy_service_pb2 as service_pb2
from hutong.policy.v1 import policy_service_pb2_grpc as service_grpc

from services.domain.instant import to_timestamp
from services.domain.names import parse_policy
from services.domain.region import ancestry
from services.runtime.clock import SystemClock
from services.runtime.freshness import Freshness, encode_token

HEARTBEAT_SECONDS = 0.5


class PolicyStandIn(service_grpc.PolicyServiceServicer, admin_grpc.PolicyAdminServiceServicer):
    """Policies by jurisdiction, the newest publication governs. `watched` False: the watch tells nothing."""

    def __init__(self, *, watched: bool = True) -> None:
        self.policies: dict[str, policy_pb2.Policy] = {}
        self.resolve_count = 0
        self._watched = watched
        self._changed = asyncio.Condition()
        self._changes: list[policy_pb2.Policy] = []
        self._clock = SystemClock()

    def publish(self, policy: policy_pb2.Policy) -> None:
        """Put a policy into force at once."""
        region, _, _ = parse_policy(policy.name)
        self.policies[region] = policy
        self._changes.append(policy)

    async def PublishPolicy(self, request: admin_pb2.PublishPolicyRequest, context: Any) -> Any:
        self.publish(request.policy)
        async with self._changed:
            self._changed.notify_all()
        token = encode_token(Freshness("policy", "000000", self._clock.now()))
        return admin_pb2.PublishPolicyResponse(policy=request.policy, consistency_token=token)

    async def BatchResolvePolicies(self, request: service_pb2.BatchResolvePoliciesRequest, context: Any) -> Any:
        self.resolve_count += len(request.requests)
        items = [service_pb2.ResolvePolicyItem(effective_policy=self._resolve(one)) for one in request.requests]
        return service_pb2.BatchResolvePoliciesResponse(items=items)

    async def WatchPolicies(self, request: service_pb2.WatchPoliciesRequest, context: Any) -> AsyncIterator[Any]:
        if not self._watched:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not served")
        sent = int(request.cursor) if request.cursor else 0
        while True:
            while sent < len(self._changes):
                sent += 1
                yield service_pb2.WatchPoliciesResponse(policy=self._changes[sent - 1], cursor=str(sent))
            checkpoint = service_pb2.PolicyCheckpoint(as_of_time=to_timestamp(self._clock.now()))
            yield service_pb2.WatchPoliciesResponse(checkpoint=checkpoint, cursor=str(sent))
            async with self._changed:
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _resolve(self, request: service_pb2.ResolvePolicyRequest) -> policy_pb2.EffectivePolicy:
        effective = policy_pb2.EffectivePolicy(as_of_time=to_timestamp(self._clock.now()))
        for region in ancestry(request.region):
            policy = self.policies.get(region)
            if policy is None or (policy.purposes and request.purpose not in policy.purposes):
                continue
            effective.governing = f"{policy.name}@{max(policy.revision, 1)}"
            effective.forbidden_grounds.extend(policy.forbidden_grounds)
            effective.advice.extend(policy.advice)
            if policy.HasField("test_required"):
                effective.test_required.CopyFrom(policy.test_required)
            else:
                effective.not_required.SetInParent()
            break
        return effective


async def serve_policy(standin: PolicyStandIn, address: str) -> tuple[grpc.aio.Server, int]:
    """Serve it; returns the server and its port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service_grpc.add_PolicyServiceServicer_to_server(standin, server)
    admin_grpc.add_PolicyAdminServiceServicer_to_server(standin, server)
    port = server.add_insecure_port(address)
    await server.start()
    return server, port


async def _main(address: str) -> None:
    server, _ = await serve_policy(PolicyStandIn(), address)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
