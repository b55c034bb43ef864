"""Wiring of the Policy service: the one place where its parts meet."""

from __future__ import annotations

import asyncio
from functools import partial

from hutong.policy.v1.policy_admin_service_pb2_grpc import add_PolicyAdminServiceServicer_to_server
from hutong.policy.v1.policy_service_pb2_grpc import add_PolicyServiceServicer_to_server

from services.policy.servicer import PolicyAdminServicer, PolicyServicer
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.serving.publisher import PolicyPublisher
from services.policy.serving.resolver import PolicyResolver
from services.policy.serving.watch import Watch
from services.policy.store import PolicyStore
from services.policy.upstream.follower import UpstreamFollower
from services.policy.upstream.store import UpstreamStore
from services.runtime.client.channels import open_channel
from services.runtime.clock import Clock, SystemClock
from services.runtime.server.service import Drain, Registration, Service
from services.runtime.settings import Settings
from services.storage.migrate import open_migrated


async def open_policy(settings: Settings, clock: Clock | None = None) -> Service:
    """Open the Policy service on its settings' database."""
    clock = clock or SystemClock()
    database = await open_migrated("policy", settings)
    store = PolicyStore(database)
    cache = PolicyBookCache(store, clock)
    await cache.open()
    drain = Drain()
    nation = settings.upstream_policy
    upstream = (
        UpstreamFollower(UpstreamStore(database), cache, partial(open_channel, nation, settings, apart=True), clock)
        if nation
        else None
    )

    async def check() -> None:
        await database.check()
        if cache.as_of == 0:
            await cache.refresh()
        if upstream is not None and cache.nation_as_of is None:
            await upstream.restore()

    async def close() -> None:
        await cache.close()
        await asyncio.to_thread(database.close)

    return Service(
        name="policy",
        registrations=(
            Registration(
                "hutong.policy.v1.PolicyService",
                add_PolicyServiceServicer_to_server,
                PolicyServicer(cache, PolicyResolver(cache, clock), Watch(cache, settings.jurisdiction, drain)),
            ),
            Registration(
                "hutong.policy.v1.PolicyAdminService",
                add_PolicyAdminServiceServicer_to_server,
                PolicyAdminServicer(PolicyPublisher(store, cache, settings.jurisdiction, clock)),
            ),
        ),
        check=check,
        close=close,
        background=(upstream.run,) if upstream is not None else (),
        drain=drain,
    )
