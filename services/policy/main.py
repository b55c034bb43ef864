"""Wiring of the Policy service. Only this module knows all parts."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog
from hutong.policy.v1.policy_admin_service_pb2_grpc import add_PolicyAdminServiceServicer_to_server
from hutong.policy.v1.policy_exchange_service_pb2_grpc import add_PolicyExchangeServiceServicer_to_server
from hutong.policy.v1.policy_service_pb2_grpc import add_PolicyServiceServicer_to_server

from services.approval.approvals import Approvals
from services.approval.grants import EmergencyGrants
from services.approval.servicer import ApprovalServicer, approval_registration
from services.audit.heads import ResultsHeadClient
from services.audit.service import ServiceAudit
from services.domain.errors import HutongError
from services.domain.instant import HOUR
from services.domain.region import NATION
from services.policy import tables
from services.policy.downstream.receiver import PolicyReceiver
from services.policy.downstream.servicer import PolicyExchangeServicer
from services.policy.downstream.store import DownstreamStore
from services.policy.serving.book_cache import PolicyBookCache
from services.policy.serving.floor_approvals import FloorApprovals
from services.policy.serving.publisher import PolicyPublisher, needs_no_founding
from services.policy.serving.resolver import PolicyResolver
from services.policy.serving.servicer import PolicyAdminServicer, PolicyServicer
from services.policy.serving.token_check import TokenCheck
from services.policy.serving.watch import Watch
from services.policy.store import PolicyStore
from services.policy.timing import PolicyTiming
from services.policy.upstream.founding import Founding
from services.policy.upstream.sender import PolicySender
from services.policy.upstream.store import UpstreamStore
from services.policy.upstream.watch import UpstreamWatch
from services.runtime.background import Job
from services.runtime.client.channels import open_channel
from services.runtime.client.retired_nodes import RetiredNodes
from services.runtime.clock import Clock, SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.page_tokens import PageTokens
from services.runtime.server.access.permits import Owner
from services.runtime.server.service import Drain, Registration, Service
from services.storage.engine import Database
from services.storage.migrate import open_migrated

_log = structlog.get_logger(__name__)


async def _read_policies(database: Database, cache: PolicyBookCache) -> None:
    """Read all policies. If the database is unavailable or not migrated, the health check will read them."""
    try:
        await database.check()
        await cache.refresh()
    except HutongError as error:
        _log.warning("policies not read yet", reason=error.reason, text=error.message)


async def open_policy(settings: Settings, clock: Clock | None = None, timing: PolicyTiming | None = None) -> Service:
    """Open the Policy service on the database of its settings."""
    clock, timing = clock or SystemClock(), timing or PolicyTiming()
    database = await open_migrated("policy", settings)
    store = PolicyStore(database)
    cache = PolicyBookCache(store, clock, is_province=settings.jurisdiction != NATION)
    await _read_policies(database, cache)
    heads = ResultsHeadClient(settings) if settings.jurisdiction != NATION else None
    audit = ServiceAudit(
        database, tables.audit, None, settings.jurisdiction, clock, None if heads is None else heads.deliver
    )
    drain = Drain()
    watch = Watch(cache, settings.jurisdiction, drain, timing)
    background: tuple[Job, ...] = (partial(cache.poll, timing.poll_seconds),)
    upstream: UpstreamWatch | None = None
    founding: Founding | None = None
    sender: PolicySender | None = None
    if settings.upstream_policy:
        connect = partial(open_channel, settings.upstream_policy, settings, dedicated=True)
        above = UpstreamStore(database, settings.jurisdiction)
        upstream = UpstreamWatch(above, cache, connect, clock, timing, settings.jurisdiction)
        founding = Founding(above, upstream, cache, clock, timing)
        sender = PolicySender(above, watch, founding, connect, timing, settings.jurisdiction)
        background = (*background, upstream.run, sender.run)

    async def start() -> None:
        if sender is not None:
            await sender.check_tree()

    async def check() -> None:
        await database.check()
        if cache.as_of == 0:
            await cache.refresh()
        if upstream is not None and not cache.nation_as_of:
            await upstream.restore()

    async def close() -> None:
        if heads is not None:
            await heads.close()
        await retired.close()
        await audit.close()
        await asyncio.to_thread(database.close)

    grants = EmergencyGrants(
        database, tables.emergency_grants, tables.requests, clock, "authority", settings.jurisdiction
    )
    approvals = Approvals(
        database, tables.pending_changes, tables.requests, clock, settings.approval_hours * HOUR, grants
    )

    async def owner_of(name: str) -> Owner:
        return await (grants if name.startswith("emergencyGrants/") else approvals).owner_of(name)

    retired = RetiredNodes(settings)
    require_founded = needs_no_founding if founding is None else founding.require
    require_current = needs_no_founding if founding is None else founding.require_current
    publisher = PolicyPublisher(store, cache, settings.jurisdiction, clock, require_current, retired.read)
    receiver = PolicyReceiver(
        DownstreamStore(database), cache, settings.jurisdiction, clock, drain, timing, retired.read
    )

    return Service(
        name="policy",
        registrations=(
            Registration(
                "hutong.policy.v1.PolicyService",
                add_PolicyServiceServicer_to_server,
                PolicyServicer(
                    cache,
                    PolicyResolver(cache, clock),
                    watch,
                    TokenCheck(cache, settings.jurisdiction),
                    require_founded,
                ),
            ),
            Registration(
                "hutong.policy.v1.PolicyAdminService",
                add_PolicyAdminServiceServicer_to_server,
                PolicyAdminServicer(publisher, FloorApprovals(approvals, publisher), cache),
            ),
            Registration(
                "hutong.policy.v1.PolicyExchangeService",
                add_PolicyExchangeServiceServicer_to_server,
                PolicyExchangeServicer(receiver),
            ),
            approval_registration(ApprovalServicer(approvals, grants, PageTokens())),
            audit.registration,
        ),
        check=check,
        close=close,
        start=start,
        background=(*background, *audit.jobs, approvals.count),
        drain=drain,
        owner_of=owner_of,
        audit=audit.trail,
    )
