"""A Policy that starts before the migration of its database."""

from __future__ import annotations

from pathlib import Path

import grpc
from hutong.policy.v1.policy_service_pb2 import ListPoliciesRequest, ResolvePolicyRequest, WatchPoliciesRequest

from services.storage.migrate import upgrade
from tests.support.databases import PostgresServer
from tests.support.errors import error_info
from tests.support.policy.service import HOTEL, policy_at
from tests.support.waiting import until


async def test_policies_that_were_not_read_are_not_answered_as_absent(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """Before the migration, neither a question nor a watch is answered. After it both are."""
    url = postgres_server.make_empty()
    upgrade("policy", url, "0014")
    async with policy_at(url, tmp_path) as service:

        async def reasons() -> set[str]:
            """Return the reasons for which a question, a list and a watch are refused."""
            found = set()
            for call in (
                service.read.ResolvePolicy(ResolvePolicyRequest(region="410105", purpose=HOTEL)),
                service.read.ListPolicies(ListPoliciesRequest(jurisdiction="jurisdictions/410000")),
                service.read.WatchPolicies(WatchPoliciesRequest()).read(),
            ):
                try:
                    await call
                except grpc.aio.AioRpcError as error:
                    found.add(error_info(error).reason)
            return found

        assert await reasons() == {"DATABASE_UNAVAILABLE"}
        upgrade("policy", url)

        async def is_answered() -> bool:
            return not await reasons()

        await until(is_answered)
