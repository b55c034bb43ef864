"""Runs the nation's Policy and those of its provinces for tests: real services on real ports."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_service_pb2 import ListPolicyRevisionsRequest, ResolvePolicyRequest
from hutong.type.v1 import channel_pb2

from services.domain.instant import Instant, from_timestamp
from services.policy.timing import PolicyTiming
from tests.support.policy.service import HOTEL, VENUE, Service, make_policy, policy_at
from tests.support.waiting import TIMEOUT_SECONDS, until

NATION_POLICY = "jurisdictions/000000/policies/hotel"
FLOOR = "jurisdictions/000000/policies/notice-81"
HENAN_POLICY = "jurisdictions/410000/policies/hotel"
PATIENT = PolicyTiming(founding_seconds=TIMEOUT_SECONDS, catch_up_seconds=0.2)
"""Lets a busy machine found a node, and does not wait long for a nation that is away."""


@contextlib.asynccontextmanager
async def province(
    url: str,
    directory: Path,
    upstream_policy: str,
    jurisdiction: str = "410000",
    timing: PolicyTiming | None = None,
) -> AsyncIterator[Service]:
    """Serve the Policy of a province, Henan by default, that watches the nation's Policy."""
    async with policy_at(
        url, directory, jurisdiction, timing=timing or PATIENT, upstream="127.0.0.1:1", upstream_policy=upstream_policy
    ) as served:
        yield served


def make_floor() -> policy_pb2.Policy:
    """Return a national floor by which paper reports must be accepted."""
    return make_policy(FLOOR, floor=True, channels=[channel_pb2.CHANNEL_PAPER_REPORT])


def make_venue_policy(policy_id: str) -> policy_pb2.Policy:
    """Return a national policy that ties with no other, because it is in force for one microsecond."""
    policy = make_policy(f"jurisdictions/000000/policies/{policy_id}")
    policy.purposes[:] = [VENUE]
    policy.effective_end_time.CopyFrom(policy.effective_start_time)
    policy.effective_end_time.nanos += 1000
    return policy


async def resolve(service: Service, region: str = "410105") -> policy_pb2.EffectivePolicy:
    """Return what applies to hotels of a region."""
    response = await service.read.ResolvePolicy(ResolvePolicyRequest(region=region, purpose=HOTEL))
    return response.effective_policy


async def nation_as_of(service: Service) -> Instant:
    """Return up to when a province knows the nation's policies; 0 if it has received nothing."""
    return from_timestamp((await resolve(service)).nation_as_of_time)


def without_actors(policy: policy_pb2.Policy) -> policy_pb2.Policy:
    """Return a policy without who made it, which no other node knows."""
    policy.ClearField("actor")
    policy.ClearField("withdraw_actor")
    return policy


async def revisions(service: Service, name: str) -> list[policy_pb2.Policy]:
    """Return all revisions of a policy as any node knows them, without actors; empty if it has none."""
    try:
        request = ListPolicyRevisionsRequest(name=name, page_size=500)
        found = list((await service.read.ListPolicyRevisions(request)).policies)
        return [without_actors(policy) for policy in found]
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return []


async def wait_until_governing(
    service: Service, name: str, region: str = "410105", seconds: float = TIMEOUT_SECONDS
) -> None:
    """Wait until a policy governs hotels of a region."""

    async def governs() -> bool:
        return await service.governing(region) == name

    await until(governs, seconds)


async def wait_until_known(service: Service, name: str) -> None:
    """Wait until a service knows a policy."""

    async def known() -> bool:
        return bool(await revisions(service, name))

    await until(known)
