"""Wires the Verification service. No other module knows all its parts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hutong.exchange.v1.refusal_exchange_service_pb2_grpc import add_RefusalExchangeServiceServicer_to_server
from hutong.results.internal.v1.internal_lookup_service_pb2_grpc import InternalLookupServiceStub
from hutong.verification.v1.decision_pb2 import DecisionInputs
from hutong.verification.v1.evidence_case_service_pb2_grpc import add_EvidenceCaseServiceServicer_to_server
from hutong.verification.v1.evidence_flag_service_pb2_grpc import add_EvidenceFlagServiceServicer_to_server
from hutong.verification.v1.holder_token_service_pb2_grpc import add_HolderTokenServiceServicer_to_server
from hutong.verification.v1.refusal_service_pb2_grpc import add_RefusalServiceServicer_to_server
from hutong.verification.v1.verification_service_pb2_grpc import add_VerificationServiceServicer_to_server

from services.audit.heads import ResultsHeadClient
from services.audit.service import ServiceAudit
from services.domain.errors import Unavailable
from services.domain.names import parse_case, parse_decision, parse_refusal
from services.domain.region import NATION
from services.runtime.client.channels import Connector
from services.runtime.client.reconnecting import ReconnectingStub
from services.runtime.client.retired_nodes import RetiredNodes
from services.runtime.clock import Clock, SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.runtime.page_tokens import PageTokens
from services.runtime.server.access.permits import Owner
from services.runtime.server.service import Drain, Registration, Service
from services.storage.errors import UnusableDatabase
from services.storage.migrate import open_migrated
from services.storage.pepper_marks import checking_pepper
from services.verification.cases.servicer import EvidenceCaseServicer
from services.verification.cases.store import CaseStore
from services.verification.decision_counts.counter import DecisionCounter
from services.verification.decision_counts.recorder import DecisionCountRecorder
from services.verification.denials.client import DenialClient
from services.verification.denials.opener import DeniedCaseOpener
from services.verification.holder_tokens.seal import TokenSeal
from services.verification.holder_tokens.servicer import HolderTokenServicer
from services.verification.holder_tokens.store import TokenUses
from services.verification.refusal_exchange.counts import DecisionCountOutbox
from services.verification.refusal_exchange.duties import RefusalDuties
from services.verification.refusal_exchange.link import RefusalLink
from services.verification.refusal_exchange.servicer import RefusalExchangeServicer
from services.verification.refusal_exchange.store import RefusalExchangeStore
from services.verification.refusal_exchange.timing import RefusalTiming
from services.verification.refusals.assessing import Assessor
from services.verification.refusals.reporting import RefusalReporter
from services.verification.refusals.servicer import RefusalServicer
from services.verification.refusals.store import RefusalStore
from services.verification.refusals.summaries.store import SummaryStore
from services.verification.schema import audit as audit_tables
from services.verification.showings.servicer import EvidenceFlagServicer
from services.verification.showings.store import FlagStore
from services.verification.sources.policy_client import PolicyClient
from services.verification.sources.results_client import ResultsClient
from services.verification.sources.timing import SourceTiming
from services.verification.stored_decisions.store import DecisionStore
from services.verification.stored_decisions.subject_tag import is_tagged
from services.verification.stored_decisions.tables import pepper_marks
from services.verification.verify.ask import Sources
from services.verification.verify.servicer import VerificationServicer
from services.verification.verify.single import SingleQuestions
from services.verification.verify.stream import VerificationStream
from services.verification.verify.verifier import Verifier

if TYPE_CHECKING:
    from hutong.results.internal.v1.internal_lookup_service_pb2_grpc import InternalLookupServiceAsyncStub


async def open_verification(
    settings: Settings,
    clock: Clock | None = None,
    timing: SourceTiming | None = None,
    refusal_timing: RefusalTiming | None = None,
) -> Service:
    """Open the Verification service on the database of its settings, with clients of this node's Results and Policy.

    Raises:
        BadSetting: the pepper is not the pepper under which the database was filled.
        UnusableDatabase: the subject keys in the database were made by an older rule of document classes.
    """
    clock = clock or SystemClock()
    refusal_timing = refusal_timing or RefusalTiming()
    pepper = settings.pepper()
    database = await open_migrated("verification", settings)
    check_pepper = checking_pepper(database, pepper_marks, pepper)
    node, has_upstream = settings.jurisdiction, bool(settings.upstream)
    exchange_store = RefusalExchangeStore(database, pepper, clock, node, has_upstream=has_upstream)

    async def check() -> None:
        await check_pepper()
        await exchange_store.adopt_older_reports()

    # An unavailable database or an old schema does not prevent the start, because the health check checks both again.
    try:
        await check()
    except Unavailable:
        pass
    except (BadSetting, UnusableDatabase):
        await asyncio.to_thread(database.close)
        raise
    store = DecisionStore(database)
    open_to_results = Connector(settings.results.address, settings)
    open_to_policy = Connector(settings.policy.address, settings)
    results_stub: ReconnectingStub[InternalLookupServiceAsyncStub] = ReconnectingStub(
        open_to_results, InternalLookupServiceStub
    )
    results = ResultsClient(results_stub, settings.jurisdiction, pepper, settings.source_seconds)
    policies = PolicyClient(open_to_policy, settings.jurisdiction, clock, timing, settings.source_seconds)
    token_uses = TokenUses(database, clock)
    flags = FlagStore(database)
    cases = CaseStore(database, pepper.secrets)
    sources = Sources(policies, results)
    counter = DecisionCounter()
    recorder = DecisionCountRecorder(database, counter, node, clock)
    verifier = Verifier(sources, results, store, pepper, clock, token_uses, counter)
    refusal_store = RefusalStore(database, pepper.secrets, node, has_upstream=has_upstream)
    assessor = Assessor(policies, store, pepper, node)
    reporter = RefusalReporter(verifier, assessor, store, refusal_store, pepper, clock)
    duties = RefusalDuties(database, verifier, assessor, pepper, clock, node, refusal_timing, has_upstream=has_upstream)
    link = None
    if has_upstream:
        open_above = Connector(settings.upstream_verification, settings)
        outbox = DecisionCountOutbox(database)
        link = RefusalLink(exchange_store, outbox, open_above, node, pepper, refusal_timing)
    retired = RetiredNodes(settings)
    denial_client = DenialClient(open_to_results)
    denials = DeniedCaseOpener(database, denial_client.list_denied, pepper, clock)
    heads = ResultsHeadClient(settings) if settings.jurisdiction != NATION else None
    audit = ServiceAudit(
        database,
        audit_tables,
        pepper,
        settings.jurisdiction,
        clock,
        None if heads is None else heads.deliver,
    )
    drain = Drain()
    streams = VerificationStream(verifier, drain)

    async def owner_of(name: str) -> Owner:
        if name.startswith("decisions/"):
            uuid = parse_decision(name)
            kept = await store.get_decision(uuid)
            return Owner(
                DecisionInputs.FromString(kept.inputs).region,
                lambda key: is_tagged(kept.subject, uuid, [key], pepper) is True,
            )
        if name.startswith("cases/"):
            return Owner((await cases.get_case(parse_case(name))).region)
        refusal = await refusal_store.get_refusal(parse_refusal(name))
        return Owner(refusal.region, lambda key: refusal.subject_key == key)

    async def start() -> None:
        if link is not None:
            await link.check_tree()

    async def close() -> None:
        await policies.close()
        await results_stub.close()
        await denial_client.close()
        await retired.close()
        if heads is not None:
            await heads.close()
        await audit.close()
        await recorder.store()
        await asyncio.to_thread(database.close)

    return Service(
        name="verification",
        registrations=(
            Registration(
                "hutong.verification.v1.VerificationService",
                add_VerificationServiceServicer_to_server,
                VerificationServicer(SingleQuestions(verifier, sources, results), verifier, streams, store, flags),
            ),
            Registration(
                "hutong.verification.v1.RefusalService",
                add_RefusalServiceServicer_to_server,
                RefusalServicer(reporter, refusal_store, SummaryStore(database), PageTokens(pepper.secrets), clock),
            ),
            Registration(
                "hutong.exchange.v1.RefusalExchangeService",
                add_RefusalExchangeServiceServicer_to_server,
                RefusalExchangeServicer(exchange_store, node, pepper, drain, refusal_timing, retired.read),
            ),
            Registration(
                "hutong.verification.v1.EvidenceFlagService",
                add_EvidenceFlagServiceServicer_to_server,
                EvidenceFlagServicer(flags, PageTokens(pepper.secrets)),
            ),
            Registration(
                "hutong.verification.v1.EvidenceCaseService",
                add_EvidenceCaseServiceServicer_to_server,
                EvidenceCaseServicer(cases, PageTokens(pepper.secrets), clock),
            ),
            Registration(
                "hutong.verification.v1.HolderTokenService",
                add_HolderTokenServiceServicer_to_server,
                HolderTokenServicer(TokenSeal(pepper), pepper, clock),
            ),
            audit.registration,
        ),
        check=check,
        close=close,
        start=start,
        background=(
            policies.watch,
            streams.close_when_drained,
            *audit.jobs,
            token_uses.purge,
            recorder.run,
            *duties.jobs,
            denials.run,
            *(() if link is None else (link.run,)),
        ),
        drain=drain,
        owner_of=owner_of,
        audit=audit.trail,
    )
