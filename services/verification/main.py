"""Wiring of the Verification service: the one place where its parts meet."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from hutong.results.v1.results_service_pb2_grpc import ResultsServiceStub
from hutong.verification.v1.refusal_service_pb2_grpc import add_RefusalServiceServicer_to_server
from hutong.verification.v1.verification_service_pb2_grpc import add_VerificationServiceServicer_to_server

from services.runtime.client.channels import open_channel
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.clock import Clock, SystemClock
from services.runtime.page_tokens import PageTokens
from services.runtime.server.service import Drain, Registration, Service
from services.runtime.settings import Settings
from services.storage.migrate import open_migrated
from services.verification.refusals.reporting import RefusalDesk
from services.verification.refusals.store import SqlRefusalStore
from services.verification.sources.policy_client import PolicyGateway
from services.verification.sources.results_client import ResultsGateway
from services.verification.verify.servicer import RefusalServicer, VerificationServicer
from services.verification.verify.store import SqlStore
from services.verification.verify.stream import GateDesk
from services.verification.verify.verifier import DecisionDesk

if TYPE_CHECKING:
    from hutong.results.v1.results_service_pb2_grpc import ResultsServiceAsyncStub


async def open_verification(settings: Settings, clock: Clock | None = None) -> Service:
    """Open the Verification service on its settings' database, with channels to this node's Results and Policy."""
    clock = clock or SystemClock()
    pepper = settings.pepper()
    database = await open_migrated("verification", settings)
    store = SqlStore(database)
    open_to_results = partial(open_channel, settings.results.address, settings, apart=True)
    open_to_policy = partial(open_channel, settings.policy.address, settings, apart=True)
    results_line: ReconnectingStub[ResultsServiceAsyncStub] = ReconnectingStub(open_to_results, ResultsServiceStub)
    results = ResultsGateway(results_line, settings.jurisdiction)
    policies = PolicyGateway(open_to_policy, settings.jurisdiction, clock)
    desk = DecisionDesk(results, policies, store, pepper, clock)
    refusal_store = SqlRefusalStore(database, pepper.secret)
    refusal_desk = RefusalDesk(desk, policies, store, refusal_store, pepper, clock)
    drain = Drain()
    gates = GateDesk(desk, drain)

    async def start() -> None:
        policies.start()
        gates.start()

    async def close() -> None:
        gates.close()
        await policies.close()
        await results_line.close()
        await asyncio.to_thread(database.close)

    return Service(
        name="verification",
        registrations=(
            Registration(
                "hutong.verification.v1.VerificationService",
                add_VerificationServiceServicer_to_server,
                VerificationServicer(desk, gates, store),
            ),
            Registration(
                "hutong.verification.v1.RefusalService",
                add_RefusalServiceServicer_to_server,
                RefusalServicer(refusal_desk, refusal_store, PageTokens(pepper.secret), clock),
            ),
        ),
        check=database.check,
        close=close,
        start=start,
        drain=drain,
    )
