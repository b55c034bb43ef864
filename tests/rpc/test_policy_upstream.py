"""The nation's policies in a province: they come by watch, bind there, and hold while the nation is away."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from hutong.policy.v1 import policy_pb2
from hutong.policy.v1.policy_admin_service_pb2 import WithdrawPolicyRequest
from hutong.policy.v1.policy_service_pb2 import GetPolicyRequest, ResolvePolicyRequest
from hutong.type.v1 import channel_pb2
from sqlalchemy import text

from services.domain.instant import MINUTE, SECOND, Instant, from_timestamp
from services.policy import upstream
from services.runtime.clock import SystemClock
from services.storage.engine import open_database
from tests.databases import MakeUrl
from tests.rpc.country import until
from tests.rpc.link import Link, link_to
from tests.rpc.test_policy_service import HOTEL, VENUE, Service, make_policy, policy_at
from tests.serving import error_info

NATION_POLICY = "jurisdictions/000000/policies/hotel"
FLOOR = "jurisdictions/000000/policies/notice-81"
HENAN_POLICY = "jurisdictions/410000/policies/hotel"


class FastClock:
    """A clock that is ahead."""

    def now(self) -> Instant:
        """A minute from now."""
        return SystemClock().now() + MINUTE


@pytest.fixture
async def nation(tmp_path: Path, database_url: MakeUrl) -> AsyncIterator[Service]:
    async with policy_at(database_url("policy"), tmp_path) as served:
        yield served


@pytest.fixture
async def link(nation: Service) -> AsyncIterator[Link]:
    async with link_to(nation.address) as opened:
        yield opened


@pytest.fixture
def province_url(database_url: MakeUrl) -> str:
    return database_url("policy")


@contextlib.asynccontextmanager
async def province(url: str, directory: Path, upstream_policy: str) -> AsyncIterator[Service]:
    """Henan."""
    async with policy_at(url, directory, "410000", upstream="127.0.0.1:1", upstream_policy=upstream_policy) as served:
        yield served


@pytest.fixture
async def henan(tmp_path: Path, province_url: str, link: Link) -> AsyncIterator[Service]:
    async with province(province_url, tmp_path, link.address) as served:
        yield served


def floor() -> policy_pb2.Policy:
    """A national floor that binds paper to count."""
    return make_policy(FLOOR, floor=True, channels=[channel_pb2.CHANNEL_PAPER_REPORT])


async def comes(service: Service, name: str, region: str = "410105") -> None:
    """Wait until a policy governs."""

    async def governs() -> bool:
        return await service.governing(region) == name

    await until(governs)


async def test_a_national_policy_governs_in_the_province_as_it_was_published(nation: Service, henan: Service) -> None:
    published = (await nation.publish(make_policy(NATION_POLICY))).policy
    await comes(henan, f"{NATION_POLICY}@1")
    assert (await henan.read.GetPolicy(GetPolicyRequest(name=f"{NATION_POLICY}@1"))).policy == published


async def test_a_national_floor_binds_what_the_province_published_before(nation: Service, henan: Service) -> None:
    await henan.publish(make_policy(HENAN_POLICY, channels=[channel_pb2.CHANNEL_PROVINCIAL_HEALTH_CODE]))
    await nation.publish(floor())

    async def bound() -> bool:
        request = ResolvePolicyRequest(region="410105", purpose=HOTEL)
        effective = (await henan.read.ResolvePolicy(request)).effective_policy
        return (effective.governing, effective.floor, channel_pb2.CHANNEL_PAPER_REPORT in effective.channels) == (
            f"{HENAN_POLICY}@1",
            f"{FLOOR}@1",
            True,
        )

    await until(bound)


async def test_a_withdrawal_comes_down_too(nation: Service, henan: Service) -> None:
    await nation.publish(make_policy(NATION_POLICY))
    await comes(henan, f"{NATION_POLICY}@1")
    await nation.admin.WithdrawPolicy(WithdrawPolicyRequest(name=f"{NATION_POLICY}@1", reason="over"))
    await comes(henan, "")
    told = (await henan.read.GetPolicy(GetPolicyRequest(name=f"{NATION_POLICY}@1"))).policy
    assert told.withdraw_reason == "over"


async def test_only_the_nations_own_policies_come(nation: Service, henan: Service) -> None:
    """What the national node keeps for another jurisdiction is not this province's."""
    await nation.publish(make_policy("jurisdictions/410100/policies/hotel"))
    await nation.publish(make_policy(NATION_POLICY))
    await comes(henan, f"{NATION_POLICY}@1")


async def test_a_province_publishes_for_itself_alone(henan: Service) -> None:
    for name in (NATION_POLICY, "jurisdictions/370000/policies/hotel"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await henan.publish(make_policy(name))
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert error_info(caught.value).reason == "NOT_PERMITTED"


async def test_the_nations_last_word_holds_while_it_is_away_and_through_a_restart(
    tmp_path: Path, nation: Service, province_url: str, link: Link
) -> None:
    await nation.publish(make_policy(NATION_POLICY))
    async with province(province_url, tmp_path, link.address) as henan:
        await comes(henan, f"{NATION_POLICY}@1")
        await link.cut()
        assert await henan.governing() == f"{NATION_POLICY}@1"
    await nation.publish(make_policy(NATION_POLICY, hours=24))
    async with province(province_url, tmp_path, link.address) as henan:
        assert await henan.governing() == f"{NATION_POLICY}@1"
        await henan.publish(make_policy("jurisdictions/410100/policies/hotel"))
        assert await henan.governing() == "jurisdictions/410100/policies/hotel@1"
        link.mend()
        await comes(henan, f"{NATION_POLICY}@2", "419001")


async def test_a_link_that_is_half_open_is_noticed(
    nation: Service, henan: Service, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "SILENCE_SECONDS", 2.0)
    await nation.publish(make_policy(NATION_POLICY))
    await comes(henan, f"{NATION_POLICY}@1")
    link.freeze()
    await nation.publish(make_policy(NATION_POLICY, hours=24))
    assert await henan.governing() == f"{NATION_POLICY}@1"
    await link.cut()
    link.mend()
    await comes(henan, f"{NATION_POLICY}@2")


async def test_how_far_the_nation_is_known_is_told_and_stands_still_while_it_is_away(
    nation: Service, henan: Service, link: Link
) -> None:
    async def as_of() -> Instant:
        request = ResolvePolicyRequest(region="410105", purpose=HOTEL)
        effective = (await henan.read.ResolvePolicy(request)).effective_policy
        return from_timestamp(effective.nation_as_of_time)

    begun = SystemClock().now()

    async def known() -> bool:
        return await as_of() > begun

    await until(known)
    request = ResolvePolicyRequest(region="410105", purpose=HOTEL)
    assert not (await nation.read.ResolvePolicy(request)).effective_policy.HasField("nation_as_of_time")
    await link.cut()
    stopped = await as_of()
    later = SystemClock().now() + SECOND

    async def own_moves_on() -> bool:
        effective = (await henan.read.ResolvePolicy(request)).effective_policy
        return from_timestamp(effective.as_of_time) > later

    await until(own_moves_on)
    assert await as_of() == stopped


async def test_another_content_of_a_known_revision_is_not_taken_in(
    tmp_path: Path, nation: Service, province_url: str, link: Link
) -> None:
    """As when the nation was restored from an older copy and published anew under the same number."""
    await nation.publish(make_policy(NATION_POLICY))
    async with province(province_url, tmp_path, link.address) as henan:
        await comes(henan, f"{NATION_POLICY}@1")
    database = open_database(province_url)
    database.write_now(lambda connection: connection.execute(text("UPDATE policies SET content_hash = 'another'")))
    database.write_now(lambda connection: connection.execute(text("DELETE FROM upstream_places")))
    database.close()
    async with province(province_url, tmp_path, link.address) as henan:
        another = make_policy("jurisdictions/000000/policies/another")
        another.purposes[:] = [VENUE]
        await nation.publish(another)

        async def came() -> bool:
            try:
                await henan.read.GetPolicy(GetPolicyRequest(name="jurisdictions/000000/policies/another"))
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(came)
        told = (await henan.read.GetPolicy(GetPolicyRequest(name=NATION_POLICY))).policy
        assert told.content_hash == "another"


async def test_a_nation_with_a_fast_clock_is_followed_at_once(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    async with policy_at(sqlite_url("policy"), tmp_path, clock=FastClock()) as nation:
        policy = make_policy(NATION_POLICY)
        await nation.publish(policy)
        async with province(sqlite_url("policy"), tmp_path, nation.address) as henan:
            await comes(henan, f"{NATION_POLICY}@1")


async def test_publications_at_the_nation_are_soon_in_the_province(nation: Service, henan: Service) -> None:
    delays = []
    for number in range(1, 21):
        await nation.publish(make_policy(NATION_POLICY, hours=number))
        begun = time.perf_counter()
        await comes(henan, f"{NATION_POLICY}@{number}")
        delays.append(time.perf_counter() - begun)
    assert statistics.median(delays) < 1
