"""A Policy service on a real port, and policies to publish to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import PublishPolicyRequest, PublishPolicyResponse
from hutong.policy.v1.policy_admin_service_pb2_grpc import PolicyAdminServiceStub
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyRequest
from hutong.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from hutong.type.v1 import purpose_pb2

from services.domain.instant import to_timestamp
from services.policy.main import open_policy
from services.policy.timing import PolicyTiming
from services.runtime.clock import Clock, SystemClock
from tests.support.servers import serving, settings_for

HOTEL = purpose_pb2.PURPOSE_HOTEL

VENUE = purpose_pb2.PURPOSE_PUBLIC_VENUE

ANTIGEN = "items/sars-cov-2-antigen"


def make_policy(
    name: str = "jurisdictions/410100/policies/hotel", *, hours: int = 48, **fields: object
) -> policy_pb2.Policy:
    """Return a policy for hotels that is in force from now on, with a window from the report time."""
    policy = policy_pb2.Policy(name=name, title="made up", purposes=[HOTEL], **fields)  # type: ignore[arg-type]
    policy.test_required.window.basis = policy_pb2.VALIDITY_BASIS_REPORT_TIME
    if not policy.floor:
        policy.test_required.window.duration.seconds = hours * 3600
    if not policy.HasField("effective_start_time"):
        policy.effective_start_time.CopyFrom(to_timestamp(SystemClock().now()))
    return policy


class Service:
    """A running Policy service with its stubs."""

    def __init__(self, channel: grpc.aio.Channel, address: str = "") -> None:
        self.address = address
        self.read = PolicyServiceStub(channel)
        self.admin = PolicyAdminServiceStub(channel)

    async def publish(self, policy: policy_pb2.Policy, **fields: object) -> PublishPolicyResponse:
        """Publish one policy."""
        return await self.admin.PublishPolicy(PublishPolicyRequest(policy=policy, **fields))  # type: ignore[arg-type,misc]

    async def governing(self, region: str = "410105", **fields: object) -> str:
        """Return the name of the policy that governs hotels of a region."""
        request = ResolvePolicyRequest(region=region, purpose=HOTEL, **fields)  # type: ignore[arg-type]
        return (await self.read.ResolvePolicy(request)).effective_policy.governing  # type: ignore[misc]


@contextlib.asynccontextmanager
async def policy_at(
    url: str,
    directory: Path,
    jurisdiction: str = "000000",
    clock: Clock | None = None,
    timing: PolicyTiming | None = None,
    **variables: str,
) -> AsyncIterator[Service]:
    """Serve Policy on a database until the block ends. Keywords are further settings."""
    settings = settings_for(directory, policy_database_url=url, jurisdiction=jurisdiction, **variables)
    service = await open_policy(settings, clock, timing)
    async with serving(service, settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield Service(channel, address)
