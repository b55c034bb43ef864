"""Policies and floors of the nation and of a province reach the city below the province."""

from __future__ import annotations

import contextlib
from pathlib import Path

import grpc
from hutong.policy.v1.policy_service_pb2 import ResolvePolicyRequest

from tests.support.databases import MakeUrl
from tests.support.policy.country import (
    FLOOR,
    HENAN_POLICY,
    NATION_POLICY,
    make_floor,
    nation_as_of,
    province,
    revisions,
)
from tests.support.policy.service import HOTEL, Service, make_policy, policy_at
from tests.support.waiting import until


async def is_met(service: Service, token: str) -> bool:
    """Return whether a node has the publication that a token names."""
    request = ResolvePolicyRequest(region="410105", purpose=HOTEL, at_least_as_fresh=token)
    with contextlib.suppress(grpc.aio.AioRpcError):
        await service.read.ResolvePolicy(request)
        return True
    return False


async def test_a_city_has_the_policies_of_its_province_and_of_the_nation(tmp_path: Path, sqlite_url: MakeUrl) -> None:
    """The city also knows their tokens. A policy that the city publishes itself governs there."""
    for name in ("nation", "henan", "city"):
        (tmp_path / name).mkdir()
    async with (
        policy_at(sqlite_url("policy"), tmp_path / "nation") as nation,
        province(sqlite_url("policy"), tmp_path / "henan", nation.address) as henan,
        province(sqlite_url("policy"), tmp_path / "city", henan.address, "410100") as city,
    ):
        policies = (make_policy(NATION_POLICY), make_floor())
        of_nation = [(await nation.publish(policy)).consistency_token for policy in policies]
        of_henan = (await henan.publish(make_policy(HENAN_POLICY))).consistency_token
        for token in (*of_nation, of_henan):
            await until(lambda token=token: is_met(city, token))
        assert await city.governing() == f"{HENAN_POLICY}@1"
        for name in (NATION_POLICY, FLOOR):
            assert await revisions(city, name) == await revisions(nation, name)
        assert await nation_as_of(city) > 0
        own = "jurisdictions/410100/policies/hotel"
        await city.publish(make_policy(own))
        assert await city.governing() == f"{own}@1"
