"""Watches of policies through real servers, on both engines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from hutong.policy.v1.policy_admin_service_pb2 import WithdrawPolicyRequest
from hutong.policy.v1.policy_service_pb2 import PolicyEventType, WatchPoliciesRequest, WatchPoliciesResponse

from services.policy.timing import PolicyTiming
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.policy.service import Service, make_policy, policy_at
from tests.support.waiting import TIMEOUT_SECONDS


async def next_change(call: Any) -> WatchPoliciesResponse:
    """Return the next change of a watch. Heartbeats may come before it."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (message := await call.read()).WhichOneof("message") != "event":
            pass
    told: WatchPoliciesResponse = message
    return told


async def test_watch_tells_snapshot_then_changes_and_resumes(service: Service) -> None:
    """A snapshot ends with a checkpoint; a subscriber that was away gets what came meanwhile, once."""
    await service.publish(make_policy())
    call = service.read.WatchPolicies(WatchPoliciesRequest())
    first, checkpoint = await call.read(), await call.read()
    assert first.event.policy.name == "jurisdictions/410100/policies/hotel@1"
    assert first.event.type == PolicyEventType.POLICY_EVENT_TYPE_SNAPSHOT
    assert checkpoint.WhichOneof("message") == "checkpoint"
    await service.publish(make_policy("jurisdictions/370000/policies/hotel"))
    change = await next_change(call)
    assert change.event.policy.name == "jurisdictions/370000/policies/hotel@1"
    assert change.event.type == PolicyEventType.POLICY_EVENT_TYPE_PUBLISHED
    call.cancel()
    await service.publish(make_policy("jurisdictions/220000/policies/hotel"))
    again = service.read.WatchPolicies(WatchPoliciesRequest(cursor=change.cursor))
    assert (await again.read()).event.policy.name == "jurisdictions/220000/policies/hotel@1"
    assert (await again.read()).WhichOneof("message") == "checkpoint"
    again.cancel()


async def test_watch_tells_what_changed_twice_once(service: Service) -> None:
    """A policy published and withdrawn before the first read is sent as it is now, after later publications."""
    first = (await service.publish(make_policy())).policy
    await service.publish(make_policy("jurisdictions/370000/policies/hotel"))
    await service.admin.WithdrawPolicy(WithdrawPolicyRequest(name=first.name, reason="an error"))
    call = service.read.WatchPolicies(WatchPoliciesRequest())
    told = [await call.read() for _ in range(3)]
    assert [it.event.policy.name for it in told] == ["jurisdictions/370000/policies/hotel@1", first.name, ""]
    assert told[1].event.policy.HasField("withdraw_time")
    assert told[2].WhichOneof("message") == "checkpoint"
    call.cancel()
    again = service.read.WatchPolicies(WatchPoliciesRequest(cursor=told[0].cursor))
    withdrawn = (await again.read()).event
    assert (withdrawn.policy.name, withdrawn.type) == (first.name, PolicyEventType.POLICY_EVENT_TYPE_WITHDRAWN)
    again.cancel()


async def test_watcher_of_one_server_sees_a_change_of_another_within_a_second(
    database_url: MakeUrl, tmp_path: Path
) -> None:
    """Two servers share a database: one publishes, and the other sends the change."""
    url = database_url("policy")
    async with policy_at(url, tmp_path) as one, policy_at(url, tmp_path) as other:
        call = other.read.WatchPolicies(WatchPoliciesRequest())
        assert (await call.read()).WhichOneof("message") == "checkpoint"
        await one.publish(make_policy())
        await next_change(call)
        call.cancel()


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ("999999-1", "CURSOR_TOO_OLD"),
        ("1-1", "CURSOR_TOO_OLD"),
        ("1", "CURSOR_TOO_OLD"),
        ("yesterday", "INVALID_FIELD"),
    ],
)
async def test_watch_refuses_a_cursor_it_does_not_know(service: Service, cursor: str, reason: str) -> None:
    """Refused are cursors of another database, cursors with a known number of another change, and malformed cursors."""
    await service.publish(make_policy())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.read.WatchPolicies(WatchPoliciesRequest(cursor=cursor)).read()
    assert error_info(caught.value).reason == reason


async def test_publication_reaches_every_watcher_at_once(database_url: MakeUrl, tmp_path: Path) -> None:
    """The publishing server sends it to twenty watchers without reading the store or waiting for a heartbeat."""
    never = PolicyTiming(poll_seconds=3600.0, heartbeat_seconds=3600.0)
    async with policy_at(database_url("policy"), tmp_path, timing=never) as service:
        calls = [service.read.WatchPolicies(WatchPoliciesRequest()) for _ in range(20)]
        for call in calls:
            assert (await call.read()).WhichOneof("message") == "checkpoint"
        for hours in range(24, 29):
            await service.publish(make_policy(hours=hours))
            for call in calls:
                await next_change(call)
        for call in calls:
            call.cancel()
