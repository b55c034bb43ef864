"""Policies of a city at its province and at the nation: real services of three levels."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import pytest
from hutong.exchange.v1.exchange_service_pb2 import ListNodesRequest, ListNodesResponse
from hutong.exchange.v1.exchange_service_pb2_grpc import (
    ExchangeServiceServicer,
    add_ExchangeServiceServicer_to_server,
)
from hutong.exchange.v1.node_pb2 import Node
from hutong.policy.v1.policy_admin_service_pb2 import WithdrawPolicyRequest
from hutong.policy.v1.policy_exchange_service_pb2 import SendPoliciesRequest, SendPoliciesResponse, SendPoliciesStart
from hutong.policy.v1.policy_exchange_service_pb2_grpc import PolicyExchangeServiceStub
from hutong.policy.v1.policy_pb2 import EffectivePolicy, Policy
from hutong.policy.v1.policy_service_pb2 import PolicyCheckpoint, PolicyEvent, ResolvePolicyRequest

from services.domain.instant import from_timestamp, to_timestamp
from services.policy.convert import bare_statement, revision_from_proto, revision_to_proto
from services.policy.downstream.receiver import INVALID, NOT_ITS_OWN
from services.policy.model import Revision
from services.policy.timing import PolicyTiming
from services.runtime.clock import SystemClock
from services.runtime.configuration.variables import BadSetting
from tests.support.databases import MakeUrl
from tests.support.errors import error_info
from tests.support.link import Link, link_to
from tests.support.policy.country import HENAN_POLICY, make_floor, province, resolve, revisions, wait_until_governing
from tests.support.policy.service import HOTEL, Service, make_policy, policy_at
from tests.support.restored import Copy
from tests.support.servers import bare_server
from tests.support.waiting import TIMEOUT_SECONDS, until

CITY_POLICY = "jurisdictions/410100/policies/hotel"
CITY_FLOOR = "jurisdictions/410100/policies/paper"


@contextlib.asynccontextmanager
async def country(
    make_url: MakeUrl, directory: Path, city_url: str
) -> AsyncIterator[tuple[Service, Service, Service, Link]]:
    """The nation, a province and a city, and the connection of the city to the province."""
    for name in ("nation", "henan", "city"):
        (directory / name).mkdir(exist_ok=True)
    async with (
        policy_at(make_url("policy"), directory / "nation") as nation,
        province(make_url("policy"), directory / "henan", nation.address) as henan,
        link_to(henan.address) as link,
        province(city_url, directory / "city", link.address, "410100") as city,
    ):
        yield nation, henan, city, link


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str, str]:
    """Return the code, the reason and the named node of a refused call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = error_info(caught.value)
    return caught.value.code(), info.reason, info.metadata.get("node", "")


async def withdraw(service: Service, name: str) -> None:
    """Withdraw a revision."""
    await service.admin.WithdrawPolicy(WithdrawPolicyRequest(name=name, reason="over"))


async def answers(nodes: Sequence[Service], region: str = "410105") -> list[EffectivePolicy]:
    """Return the answer of each node, without what says how fresh it is."""
    found = [await resolve(node, region) for node in nodes]
    for answer in found:
        for field in ("as_of_time", "nation_as_of_time", "below_as_of_time"):
            answer.ClearField(field)
    return found


async def wait_until_alike(nodes: Sequence[Service], governing: str) -> None:
    """Wait until all nodes answer alike by a policy."""

    async def are_alike() -> bool:
        found = await answers(nodes)
        return all(one == found[0] for one in found) and found[0].governing == governing

    await until(are_alike)


async def is_founded(city: Service) -> bool:
    """Return whether a node answers questions."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await city.governing()
        return True
    return False


async def below_as_of(service: Service, region: str = "410105") -> int:
    """Return up to when a node knows the nodes below it that cover a region; 0 if nothing says so."""
    return from_timestamp((await resolve(service, region)).below_as_of_time)


async def test_every_node_answers_by_what_the_city_published(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """Answers have the same interval, number, times and tokens, also after a withdrawal.

    What another node may not do is refused.
    """
    async with country(sqlite_url, tmp_path, sqlite_url("policy")) as (nation, henan, city, link):
        nodes = (nation, henan, city)
        begun = SystemClock().now()
        await henan.publish(make_policy(HENAN_POLICY))
        token = (await city.publish(make_policy(CITY_POLICY))).consistency_token
        await wait_until_alike(nodes, f"{CITY_POLICY}@1")
        for node in nodes:
            question = ResolvePolicyRequest(region="410105", purpose=HOTEL, at_least_as_fresh=token)
            await node.read.ResolvePolicy(question)
            assert await revisions(node, CITY_POLICY) == await revisions(city, CITY_POLICY)
        assert (await revisions(nation, CITY_POLICY))[0].node == "nodes/410100"
        for node in (nation, henan):
            await until(partial(_is_later, node, begun))
            assert from_timestamp((await resolve(node, "220000")).below_as_of_time) == 0
            for policy, name in ((CITY_POLICY, "410100"), (f"{CITY_POLICY}-2", "410100")):
                found = await refused(node.publish(make_policy(policy, hours=24)))
                assert found == (grpc.StatusCode.FAILED_PRECONDITION, "ANOTHER_NODE_PUBLISHES", f"nodes/{name}")
            assert (await refused(withdraw(node, f"{CITY_POLICY}@1")))[1:] == ("ANOTHER_NODE_PUBLISHES", "nodes/410100")
        assert (await refused(nation.publish(make_policy(HENAN_POLICY, hours=24))))[2] == "nodes/410000"
        assert await below_as_of(city) == 0

        # A floor from above binds the city, at every node. The city cannot end it.
        floor = make_floor()
        floor.name = CITY_FLOOR
        await nation.publish(floor)

        async def bound() -> bool:
            return all(one.floor == f"{CITY_FLOOR}@1" for one in await answers(nodes))

        await until(bound)
        await wait_until_alike(nodes, f"{CITY_POLICY}@1")
        for node in (henan, city):
            assert (await refused(withdraw(node, f"{CITY_FLOOR}@1")))[1:] == ("ANOTHER_NODE_PUBLISHES", "nodes/000000")

        # The city is away. What is known of it stays in force, and the answer says how old it is.
        await link.cut()
        await withdraw(city, f"{CITY_POLICY}@1")
        assert await city.governing() == f"{HENAN_POLICY}@1"
        cut = SystemClock().now()
        await henan.publish(make_policy(HENAN_POLICY, hours=24))
        await wait_until_governing(nation, f"{HENAN_POLICY}@2", "419001")
        assert await nation.governing() == f"{CITY_POLICY}@1"
        assert 0 < await below_as_of(nation) <= cut
        link.mend()
        await wait_until_alike(nodes, f"{HENAN_POLICY}@2")


async def _is_later(node: Service, begun: int) -> bool:
    return await below_as_of(node) > begun


async def test_what_stood_above_is_handed_over_when_a_city_is_founded(tmp_path: Path, database_url: MakeUrl) -> None:
    """The city answers and publishes nothing before it has that, and is then the only one that ends it."""
    async with policy_at(database_url("policy"), tmp_path) as nation, link_to(nation.address) as link:
        await nation.publish(make_policy(CITY_POLICY))
        await nation.publish(make_policy(CITY_POLICY, hours=24))
        await withdraw(nation, f"{CITY_POLICY}@1")
        stood = await revisions(nation, CITY_POLICY)
        link.freeze()
        hasty = PolicyTiming(founding_seconds=0.2)
        async with province(database_url("policy"), tmp_path, link.address, "410100", hasty) as city:
            unavailable = (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")
            assert (await refused(city.publish(make_policy(CITY_POLICY))))[:2] == unavailable
            assert (await refused(city.governing()))[:2] == unavailable
            link.mend()
            await until(lambda: is_founded(city))
            await wait_until_alike((nation, city), f"{CITY_POLICY}@2")
            assert await revisions(city, CITY_POLICY) == stood
            assert (await refused(nation.publish(make_policy(CITY_POLICY))))[1] == "ANOTHER_NODE_PUBLISHES"
            await withdraw(city, f"{CITY_POLICY}@2")
            await wait_until_alike((nation, city), "")
            await city.publish(make_policy(CITY_POLICY, hours=72))
            await wait_until_alike((nation, city), f"{CITY_POLICY}@3")


async def test_a_city_that_is_founded_while_the_nation_publishes_for_it(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """All start at the same instant. Each stands at both nodes, once, or was refused."""
    async with (
        policy_at(sqlite_url("policy"), tmp_path) as nation,
        province(sqlite_url("policy"), tmp_path, nation.address, "410100") as city,
    ):
        start = to_timestamp(SystemClock().now())
        calls = [
            node.publish(make_policy(CITY_POLICY, hours=hours, effective_start_time=start))
            for hours, node in ((24, nation), (36, city), (48, nation), (60, city))
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        names = [one.policy.name for one in outcomes if not isinstance(one, BaseException)]
        refusals = {error_info(one).reason for one in outcomes if isinstance(one, grpc.aio.AioRpcError)}
        assert refusals <= {"ANOTHER_NODE_PUBLISHES"}
        stood = sorted(set(names))
        assert stood == [f"{CITY_POLICY}@{number}" for number in range(1, len(stood) + 1)]
        await wait_until_alike((nation, city), stood[-1])
        assert await revisions(nation, CITY_POLICY) == await revisions(city, CITY_POLICY)
        assert len(await revisions(city, CITY_POLICY)) == len(stood)


async def test_a_restored_city_gets_back_what_it_lost(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """A lost withdrawal comes back too. A revision that the city published anew under a lost number stays in force."""
    url = sqlite_url("policy")
    async with (
        policy_at(sqlite_url("policy"), tmp_path) as nation,
        link_to(nation.address) as link,
    ):
        async with province(url, tmp_path, link.address, "410100") as city:
            await city.publish(make_policy(CITY_POLICY))
            await wait_until_alike((nation, city), f"{CITY_POLICY}@1")
        copy = Copy(url, tmp_path / "copy")
        async with province(url, tmp_path, link.address, "410100") as city:
            await city.publish(make_policy(CITY_POLICY, hours=24))
            await city.publish(make_policy(CITY_POLICY, hours=36))
            await withdraw(city, f"{CITY_POLICY}@1")
            await wait_until_alike((nation, city), f"{CITY_POLICY}@3")
            lost = await revisions(city, CITY_POLICY)
            await link.cut()
        copy.restore()
        async with province(url, tmp_path, link.address, "410100") as city:
            again = (await city.publish(make_policy(CITY_POLICY, hours=12))).policy
            assert again.name == f"{CITY_POLICY}@2"
            link.mend()

            async def are_alike() -> bool:
                return await revisions(nation, CITY_POLICY) == await revisions(city, CITY_POLICY)

            await until(are_alike)
            found = {policy.revision: policy for policy in await revisions(nation, CITY_POLICY)}
            assert found[2].content_hash == again.content_hash
            assert (found[3], found[1]) == (lost[0], lost[2])


async def send(nation: Service, node: str, *policies: Policy, cursor: str = "c1") -> list[SendPoliciesResponse]:
    """Send revisions and a checkpoint as a node below, and return the answers."""
    checkpoint = PolicyCheckpoint(node=node)
    checkpoint.as_of_time.seconds = 1_700_000_000
    requests = [SendPoliciesRequest(start=SendPoliciesStart(node=node))]
    requests += [SendPoliciesRequest(event=PolicyEvent(policy=policy), cursor="x") for policy in policies]
    requests.append(SendPoliciesRequest(checkpoint=checkpoint, cursor=cursor))
    async with grpc.aio.insecure_channel(nation.address) as channel:
        call = PolicyExchangeServiceStub(channel).SendPolicies(requests.__iter__())
        return [answer async for answer in call]


async def test_a_node_speaks_for_its_region_alone(service: Service) -> None:
    """Anything else is set aside and named, and harms no honest revision beside it."""
    floor = make_floor()
    floor.name = "jurisdictions/410000/policies/floor"
    of_nation = (await service.publish(floor)).policy
    others = (await service.publish(make_policy("jurisdictions/220000/policies/hotel"))).policy
    own = revision_to_proto(_published(make_policy(HENAN_POLICY)))
    stolen = revision_to_proto(_published(make_policy("jurisdictions/000000/policies/hotel")))
    forged = make_policy("jurisdictions/410100/policies/hotel@1")
    ended = [Policy.FromString(one.SerializeToString()) for one in (of_nation, others)]
    for one in ended:
        one.withdraw_time.seconds, one.withdraw_reason = 1_700_000_000, "forged"
    first, last = await send(service, "nodes/410000", stolen, *ended, forged, own)
    assert (first.cursor, first.node, first.nodes) == ("", "nodes/000000", [])
    assert {(one.name, one.reason) for one in last.set_aside} == {
        (stolen.name, NOT_ITS_OWN),
        (of_nation.name, NOT_ITS_OWN),
        (others.name, NOT_ITS_OWN),
        (forged.name, INVALID),
    }
    assert [one.withdraw_time.seconds for one in await revisions(service, floor.name)] == [0]
    assert await service.governing() == f"{HENAN_POLICY}@1"
    assert await service.governing("220000") == others.name
    (again, _) = await send(service, "nodes/410000")
    assert again.cursor == "c1"
    for node in ("nodes/410100", "nodes/000000"):
        assert (await refused(send(service, node)))[1] == "NOT_AN_UPSTREAM"


def _published(policy: Policy) -> Revision:
    """Return a policy as another node would have published it."""
    return replace(revision_from_proto(bare_statement(policy), 1, 1_650_000_000_000_000), node="410000")


async def test_a_node_in_the_wrong_place_of_the_tree_does_not_start(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """A city does not start below another province, nor below the nation while there is its province."""
    patient = PolicyTiming(upstream_check_seconds=TIMEOUT_SECONDS)
    for name in ("nation", "henan", "jilin", "city"):
        (tmp_path / name).mkdir()
    async with (
        policy_at(sqlite_url("policy"), tmp_path / "nation") as nation,
        province(sqlite_url("policy"), tmp_path / "henan", nation.address, timing=patient),
        province(sqlite_url("policy"), tmp_path / "jilin", nation.address, "220000", patient) as jilin,
    ):
        for above, why in ((jilin, "does not lie below nodes/220000"), (nation, "nodes/410000 is between")):
            with pytest.raises(BadSetting, match=f"^HUTONG_UPSTREAM_POLICY does not serve nodes/410100: .*{why}"):
                async with province(sqlite_url("policy"), tmp_path / "city", above.address, "410100", patient):
                    pass


class OneRetired(ExchangeServiceServicer):
    """Lists Henan as retired and Jilin as not, on two pages."""

    async def ListNodes(self, request: ListNodesRequest, _context: object) -> ListNodesResponse:
        """Return one page."""
        if not request.page_token:
            return ListNodesResponse(nodes=[Node(name="nodes/220000")], next_page_token="2")
        return ListNodesResponse(nodes=[Node(name="nodes/410000", retire_time=to_timestamp(1))])


async def test_the_nation_publishes_for_a_node_that_was_retired(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """The nation may publish while Results says that the node is retired.

    It then also serves a city of that province.
    """

    async def is_permitted(call: Awaitable[object]) -> bool:
        """Make a change. On a busy machine Results may be late, and then no node counts as retired."""
        try:
            await call
        except grpc.aio.AioRpcError as error:
            assert error_info(error).reason == "ANOTHER_NODE_PUBLISHES"  # noqa: PT017 - the change is tried again
            return False
        return True

    jilin = "jurisdictions/220000/policies/hotel"
    async with (
        bare_server(add_ExchangeServiceServicer_to_server, OneRetired()) as results,
        policy_at(sqlite_url("policy"), tmp_path, results_address=results) as nation,
    ):
        for node in ("nodes/410000", "nodes/220000", "nodes/410100"):
            await send(nation, node)
        await until(lambda: is_permitted(nation.publish(make_policy(HENAN_POLICY))))
        await until(lambda: is_permitted(nation.publish(make_policy(HENAN_POLICY, hours=24), validate_only=True)))
        await until(lambda: is_permitted(withdraw(nation, f"{HENAN_POLICY}@1")))
        assert (await refused(nation.publish(make_policy(jilin))))[2] == "nodes/220000"
        assert (await refused(nation.publish(make_policy(CITY_POLICY))))[2] == "nodes/410100"
