"""The nation's policies in a province: they arrive by watch, bind there, and are sent on at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import WithdrawPolicyRequest
from hutong.policy.v1.policy_service_pb2 import GetPolicyRequest
from hutong.type.v1 import channel_pb2

from services.domain.instant import MINUTE
from services.runtime.background import Background
from services.runtime.clock import SystemClock
from services.runtime.consistency import decode_token
from services.verification.sources.model import PolicyQuestion
from services.verification.sources.policy_client import PolicyClient
from tests.support.clocks import ClockAhead
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.policy.country import (
    FLOOR,
    HENAN_POLICY,
    NATION_POLICY,
    make_floor,
    nation_as_of,
    province,
    resolve,
    revisions,
    wait_until_governing,
    wait_until_known,
    without_actors,
)
from tests.support.policy.service import ANTIGEN, HOTEL, Service, make_policy, policy_at
from tests.support.waiting import TIMEOUT_SECONDS, until

SOON_SECONDS = 30.0
"""Less than the minute by which another clock differs. What happens at once takes far less on a busy machine too."""


@pytest.fixture
async def nation(tmp_path: Path, database_url: MakeUrl) -> AsyncIterator[Service]:
    """A fresh national node on each engine."""
    async with policy_at(database_url("policy"), tmp_path) as served:
        yield served


@pytest.fixture
async def henan(tmp_path: Path, database_url: MakeUrl, nation: Service) -> AsyncIterator[Service]:
    """A fresh province that follows it."""
    async with province(database_url("policy"), tmp_path, nation.address) as served:
        yield served


async def test_a_national_policy_governs_in_the_province_as_it_was_published(nation: Service, henan: Service) -> None:
    """Every field but the actor is as at the nation: number, times, items and hash."""
    policy = make_policy(NATION_POLICY)
    policy.test_required.accepted.add()
    policy.test_required.accepted.add(item=ANTIGEN).window.CopyFrom(policy.test_required.window)
    policy.test_required.adverse_items.append(ANTIGEN)
    policy.test_required.adverse_window.seconds = 86_400
    published = (await nation.publish(policy)).policy
    assert published.test_required == policy.test_required
    await wait_until_governing(henan, f"{NATION_POLICY}@1")
    assert (await henan.read.GetPolicy(GetPolicyRequest(name=f"{NATION_POLICY}@1"))).policy == without_actors(published)


async def test_a_national_floor_binds_what_the_province_published_before(nation: Service, henan: Service) -> None:
    """The province's policy goes on to govern, with what the floor replaced."""
    await henan.publish(make_policy(HENAN_POLICY, channels=[channel_pb2.CHANNEL_PROVINCIAL_HEALTH_CODE]))
    await nation.publish(make_floor())

    async def bound() -> bool:
        return (await resolve(henan)).floor == f"{FLOOR}@1"

    await until(bound)
    effective = await resolve(henan)
    assert effective.governing == f"{HENAN_POLICY}@1"
    assert channel_pb2.CHANNEL_PAPER_REPORT in effective.channels
    assert [(override.WhichOneof("replaced"), override.floor) for override in effective.overrides] == [
        ("channels", f"{FLOOR}@1")
    ]


async def test_a_province_cannot_undercut_a_floor_that_came_down(nation: Service, henan: Service) -> None:
    """The province's publication is refused, with the nation's floor as the reason."""
    await nation.publish(make_floor())
    await wait_until_known(henan, FLOOR)
    undercut = make_policy(HENAN_POLICY)
    undercut.test_required.window.basis = policy_pb2.VALIDITY_BASIS_SAMPLE_TIME
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await henan.publish(undercut)
    assert error_info(caught.value).reason == "POLICY_BREACH"


async def test_a_withdrawal_comes_down_too(nation: Service, henan: Service) -> None:
    """The withdrawal comes with its time and reason. After that nothing governs."""
    await nation.publish(make_policy(NATION_POLICY))
    await wait_until_governing(henan, f"{NATION_POLICY}@1")
    withdrawal = WithdrawPolicyRequest(name=f"{NATION_POLICY}@1", reason="over")
    withdrawn = (await nation.admin.WithdrawPolicy(withdrawal)).policy
    await wait_until_governing(henan, "")
    assert await revisions(henan, NATION_POLICY) == [without_actors(withdrawn)]


async def test_only_the_nations_own_policies_come(nation: Service, henan: Service) -> None:
    """Policies that the nation keeps for another jurisdiction do not come to this province."""
    elsewhere = "jurisdictions/370100/policies/hotel"
    await nation.publish(make_policy(elsewhere))
    await nation.publish(make_policy(NATION_POLICY))
    await wait_until_governing(henan, f"{NATION_POLICY}@1")
    assert await revisions(henan, elsewhere) == []


@pytest.mark.parametrize("name", [NATION_POLICY, "jurisdictions/370000/policies/hotel"])
async def test_a_province_publishes_for_itself_alone(henan: Service, name: str) -> None:
    """A province may not publish for the nation or for another province. It may publish for its cities."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await henan.publish(make_policy(name))
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert error_info(caught.value).reason == "NOT_PERMITTED"
    await henan.publish(make_policy("jurisdictions/410100/policies/hotel"))


async def test_a_province_cannot_withdraw_what_the_nation_published(nation: Service, henan: Service) -> None:
    """The nation's policy goes on to govern."""
    await nation.publish(make_policy(NATION_POLICY))
    await wait_until_governing(henan, f"{NATION_POLICY}@1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await henan.admin.WithdrawPolicy(WithdrawPolicyRequest(name=f"{NATION_POLICY}@1", reason="not here"))
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert error_info(caught.value).reason == "NOT_PERMITTED"
    assert await henan.governing() == f"{NATION_POLICY}@1"


@pytest.mark.parametrize("ahead", [MINUTE, -MINUTE])
async def test_a_nation_with_another_clock_is_watched_at_once(tmp_path: Path, sqlite_url: MakeUrl, ahead: int) -> None:
    """A policy published in the future, by the province's clock, is known as soon as it is here; a withdrawal too."""
    async with (
        policy_at(sqlite_url("policy"), tmp_path, clock=ClockAhead(ahead)) as nation,
        province(sqlite_url("policy"), tmp_path, nation.address) as henan,
    ):
        await nation.publish(make_policy(NATION_POLICY), retroactive_reason="clocks")
        await wait_until_governing(henan, f"{NATION_POLICY}@1", seconds=SOON_SECONDS)
        await nation.admin.WithdrawPolicy(WithdrawPolicyRequest(name=f"{NATION_POLICY}@1", reason="over"))
        await wait_until_governing(henan, "", seconds=SOON_SECONDS)


async def test_the_provinces_gates_know_of_a_national_publication_at_once(nation: Service, henan: Service) -> None:
    """Verification's cache is out of date as soon as the province's Policy sends the change. A token makes it wait."""
    question = PolicyQuestion("410105", HOTEL, "410105", SystemClock().now() + MINUTE, None)
    client = PolicyClient(
        partial(grpc.aio.insecure_channel, henan.address), "410000", SystemClock(), source_seconds=TIMEOUT_SECONDS
    )
    watching = Background([client.watch])
    watching.start()
    try:
        await until(lambda: client.is_watching)

        async def is_cached() -> bool:
            # A change that is reported while Policy answers makes the answer out of date.
            await client.resolve(question)
            return client.find_cached(question) is not None

        await until(is_cached)
        response = await nation.publish(make_policy(NATION_POLICY))
        seen = decode_token(response.consistency_token)
        known = await client.resolve(question._replace(seen=seen))
        assert known is not None
        assert known.message.governing == f"{NATION_POLICY}@1"
        await nation.publish(make_policy(NATION_POLICY, hours=24))

        def is_up_to_date() -> bool:
            kept = client.find_cached(question)
            return kept is None or kept.message.governing == f"{NATION_POLICY}@2"

        await until(is_up_to_date, seconds=SOON_SECONDS)
    finally:
        await watching.stop()
        await client.close()


async def test_answers_say_up_to_when_the_nation_is_known(nation: Service, henan: Service) -> None:
    """The time advances without publications. The nation's own answers have none, because nothing is above it."""
    begun = SystemClock().now()

    async def known() -> bool:
        return await nation_as_of(henan) > begun

    await until(known)
    assert await nation_as_of(nation) == 0
