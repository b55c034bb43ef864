"""Wiring of the Results service. Only this module and `stores` import from all of its packages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from hutong.exchange.v1.exchange_service_pb2_grpc import add_ExchangeServiceServicer_to_server
from hutong.results.internal.v1.internal_audit_service_pb2_grpc import add_InternalAuditServiceServicer_to_server
from hutong.results.internal.v1.internal_lookup_service_pb2_grpc import add_InternalLookupServiceServicer_to_server
from hutong.results.internal.v1.internal_missing_report_service_pb2_grpc import (
    add_InternalMissingReportServiceServicer_to_server,
)
from hutong.results.v1.document_link_service_pb2_grpc import add_DocumentLinkServiceServicer_to_server
from hutong.results.v1.import_service_pb2_grpc import add_ImportServiceServicer_to_server
from hutong.results.v1.lab_service_pb2_grpc import add_LabServiceServicer_to_server
from hutong.results.v1.legal_hold_service_pb2_grpc import add_LegalHoldServiceServicer_to_server
from hutong.results.v1.missing_report_service_pb2_grpc import add_MissingReportServiceServicer_to_server
from hutong.results.v1.results_admin_service_pb2_grpc import add_ResultsAdminServiceServicer_to_server
from hutong.results.v1.results_service_pb2_grpc import add_ResultsServiceServicer_to_server
from hutong.results.v1.timeliness_service_pb2_grpc import add_TimelinessServiceServicer_to_server
from hutong.results.v1.upload_service_pb2_grpc import add_UploadServiceServicer_to_server
from hutong_texts import english

from services.approval.approvals import Approvals
from services.approval.grants import EmergencyGrants
from services.approval.servicer import ApprovalServicer, approval_registration
from services.audit.service import ServiceAudit
from services.domain.errors import Unavailable
from services.domain.instant import DAY, HOUR
from services.domain.names import parse_lab, parse_legal_hold
from services.domain.region import NATION
from services.domain.subject import Pepper
from services.results.corrections.approval import RecallApprovals
from services.results.corrections.servicer import ResultsAdminServicer
from services.results.documents.approval import UnlinkApprovals
from services.results.documents.servicer import DocumentLinkServicer
from services.results.exchange.downstream.admission import NodeAdmission
from services.results.exchange.downstream.freshness import NodeRegistry
from services.results.exchange.downstream.notifications.stored_positives import StoredPositives
from services.results.exchange.downstream.notifications.stream import NotificationStream
from services.results.exchange.downstream.receiver import ReplicationReceiver
from services.results.exchange.downstream.retirement import NodeRetirements
from services.results.exchange.downstream.store import DownstreamStore
from services.results.exchange.downstream.subject_lookup import SubjectLookup
from services.results.exchange.recent_tubes import RecentTubes
from services.results.exchange.servicer import ExchangeServicer, InternalAuditServicer
from services.results.exchange.upstream.below import StatementsBelow
from services.results.exchange.upstream.link import UpstreamLink
from services.results.exchange.upstream.notification_store import NotificationStore
from services.results.exchange.upstream.relay import RelayedRecords
from services.results.exchange.upstream.store import UpstreamStore
from services.results.holds.servicer import LegalHoldServicer
from services.results.idempotency import requests
from services.results.imports.importer import Importer
from services.results.imports.servicer import ImportServicer
from services.results.labs.queries import fill_normal_names
from services.results.labs.servicer import LabServicer
from services.results.limits import ResultsLimits
from services.results.lookup.lookup import LookupHandler
from services.results.lookup.nationwide import NationwideLookup
from services.results.lookup.servicer import InternalLookupServicer, ResultsServicer
from services.results.missing_reports.queue import MissingReportQueue
from services.results.missing_reports.servicer import InternalMissingReportServicer, MissingReportServicer
from services.results.records.tables import pepper_marks
from services.results.replicas.replicas import ReadReplicas
from services.results.schema import audit as audit_tables
from services.results.schema import emergency_grants, pending_changes
from services.results.stores import Stores
from services.results.timeliness.servicer import TimelinessServicer
from services.results.timing import ResultsTiming
from services.results.upload.dry_run import DryRunBudget
from services.results.upload.quotas import Limits, Quotas
from services.results.upload.servicer import UploadServicer
from services.results.upload.stream import UploadReceiver
from services.results.upload.workers import ValidationPool, WorkerContext
from services.results.watch.tail import ChangeTail
from services.results.watch.watch import Watch
from services.runtime.audit import AuditTrail
from services.runtime.clock import Clock, SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.runtime.page_tokens import PageTokens
from services.runtime.server.access.permits import Owner
from services.runtime.server.service import Drain, Registration, Service
from services.storage.errors import UnusableDatabase
from services.storage.migrate import open_migrated
from services.storage.pepper_marks import checking_pepper
from services.storage.process_lock import try_sqlite_process_lock


async def open_results(
    settings: Settings,
    clock: Clock | None = None,
    timing: ResultsTiming | None = None,
    limits: ResultsLimits | None = None,
) -> Service:
    """Open the Results service on the database of its settings.

    Several processes may serve one PostgreSQL database. Only one process may serve a SQLite database, because the
    commits of a second process would compete for SQLite's lock. That one process sends to the nation, wakes its
    watchers at once and enforces the quotas.

    Raises:
        UnusableDatabase: another process serves this SQLite database, or its subject keys were made by an older rule.
        BadSetting: the database was filled under another pepper.
    """
    serving = contextlib.ExitStack()
    try:
        if not serving.enter_context(try_sqlite_process_lock(settings.results.database_url, "serving")):
            raise UnusableDatabase(
                english("another process serves this SQLite database; stop it first, or use PostgreSQL")
            )
        return await _open_results(
            settings, clock or SystemClock(), timing or ResultsTiming(), limits or ResultsLimits(), serving
        )
    except BaseException:
        serving.close()
        raise


async def _open_results(
    settings: Settings, clock: Clock, timing: ResultsTiming, limits: ResultsLimits, serving: contextlib.ExitStack
) -> Service:
    pepper = settings.pepper()
    database = await open_migrated("results", settings)
    check = checking_pepper(database, pepper_marks, pepper)
    # The service starts even with an unavailable database or an old schema, because the health check repeats both
    # checks.
    try:
        await check()
        await database.write(fill_normal_names)
    except Unavailable:
        pass
    except (BadSetting, UnusableDatabase):
        await asyncio.to_thread(database.close)
        raise
    own = settings.results
    replicas = (
        ReadReplicas(database, own.replica_url, own.replica_lag_seconds, clock, timing) if own.replica_url else None
    )
    stores = Stores(
        database,
        clock,
        pepper.secrets,
        settings.jurisdiction,
        joined=bool(settings.upstream),
        timing=timing,
        limits=limits,
        replicas=replicas,
    )
    tokens = PageTokens(pepper.secrets)
    recent = RecentTubes(clock.now) if settings.upstream else None
    sent = UpstreamStore(database, clock, settings.jurisdiction, recent)
    audit = ServiceAudit(
        database,
        audit_tables,
        pepper,
        settings.jurisdiction,
        clock,
        sent.keep_audit_heads if settings.upstream else None,
    )
    drain = Drain()
    node = settings.jurisdiction
    downstream = DownstreamStore(database, clock, stores.applier, stores.partitions, node, recent)
    freshness = NodeRegistry(downstream, node, clock, timing)
    link = _link(settings, stores, sent, pepper, clock, audit.trail, freshness)
    missing_reports = MissingReportQueue(
        database, stores.router, settings.jurisdiction, clock, timing, kept=settings.missing_reports_days * DAY
    )
    nationwide = NationwideLookup(stores.lookup, settings.jurisdiction, clock, freshness, link.nation if link else None)
    lookup = LookupHandler(stores.lookup, pepper, settings.jurisdiction, clock, missing_reports, nationwide)
    tail = ChangeTail(stores.watch, clock, drain, database.written, timing)
    watch = Watch(stores.watch, tail, drain, settings.watchers, timing)
    pool = ValidationPool(WorkerContext.of(pepper, database.engine.dialect.name), settings.upload_workers)
    quotas = Limits(settings.lab_streams, settings.lab_persons_per_second, settings.lab_duplicates_per_day)
    receiver = UploadReceiver(
        stores.uploads,
        stores.labs,
        settings.jurisdiction,
        clock,
        pool,
        Quotas(quotas, clock),
        drain,
        pepper,
        DryRunBudget(limits.dry_run_reports),
        settings.start_seconds,
    )
    subscribe_above = link.subscribe_above if link else None
    # A node in the middle that is asked by a node below also asks the node above.
    relayed = NationwideLookup(stores.lookup, node, clock, freshness, RelayedRecords(link.nation)) if link else None
    exchange = ExchangeServicer(
        NodeAdmission(node, downstream),
        downstream,
        ReplicationReceiver(downstream, pepper, clock, drain, node),
        NotificationStream(database, pepper, clock, drain, timing, own=node, subscribe_above=subscribe_above),
        SubjectLookup(stores.lookup, freshness, pepper, clock, relayed),
        NodeRetirements(stores.writer),
        tokens,
        clock,
        node,
    )
    imports = Importer(
        database,
        link.subscriptions if link else None,
        settings.jurisdiction,
        pepper,
        clock,
        stores.applier,
        stores.partitions,
    )
    reading = ResultsServicer(stores.lookup, lookup, watch.watch, pepper, tokens, clock)
    grants = EmergencyGrants(
        database, emergency_grants, requests, clock, "supervisor", settings.jurisdiction, pepper.secrets
    )
    approvals = Approvals(
        database, pending_changes, requests, clock, settings.approval_hours * HOUR, grants, pepper.secrets
    )
    unlinking = UnlinkApprovals(approvals, database, stores.documents, clock)
    recalling = RecallApprovals(
        approvals, database, stores.corrections, stores.labs, settings.jurisdiction, clock, limits.unapproved_recall
    )
    documents = DocumentLinkServicer(stores.documents, unlinking, pepper, tokens, clock)
    missing = MissingReportServicer(database, stores.writer, stores.change_log, tokens, clock)
    admin = ResultsAdminServicer(stores.corrections, recalling, stores.labs, settings.jurisdiction, clock)

    async def owner_of(name: str) -> Owner:
        if name.startswith("pendingChanges/"):
            return await approvals.owner_of(name)
        if name.startswith("emergencyGrants/"):
            return await grants.owner_of(name)
        if name.startswith("legalHolds/"):
            return await stores.holds.owner_of(parse_legal_hold(name))
        lab = await stores.labs.get_lab(parse_lab(name))
        return Owner(lab.region)

    async def start() -> None:
        if link is not None:
            await link.check_tree()
        await pool.warm()

    async def close() -> None:
        if link is not None:
            await link.close()
        await asyncio.to_thread(pool.close)
        await audit.close()
        if replicas is not None:
            await asyncio.to_thread(replicas.close)
        await asyncio.to_thread(database.close)
        serving.close()

    def registered(service: str, register: Callable[[Any, Any], None], servicer: object) -> Registration:
        return Registration(f"hutong.{service}", register, servicer)

    return Service(
        name="results",
        registrations=(
            registered(
                "results.v1.LabService",
                add_LabServiceServicer_to_server,
                LabServicer(stores.labs, tokens, clock, at_nation=settings.jurisdiction == NATION),
            ),
            registered(
                "results.v1.UploadService",
                add_UploadServiceServicer_to_server,
                UploadServicer(stores.uploads, receiver),
            ),
            registered("results.v1.ResultsService", add_ResultsServiceServicer_to_server, reading),
            registered(
                "results.internal.v1.InternalLookupService",
                add_InternalLookupServiceServicer_to_server,
                InternalLookupServicer(lookup),
            ),
            registered(
                "results.internal.v1.InternalAuditService",
                add_InternalAuditServiceServicer_to_server,
                InternalAuditServicer(sent),
            ),
            registered(
                "results.internal.v1.InternalMissingReportService",
                add_InternalMissingReportServiceServicer_to_server,
                InternalMissingReportServicer(database, tokens, clock),
            ),
            registered("results.v1.DocumentLinkService", add_DocumentLinkServiceServicer_to_server, documents),
            registered("results.v1.MissingReportService", add_MissingReportServiceServicer_to_server, missing),
            registered(
                "results.v1.LegalHoldService",
                add_LegalHoldServiceServicer_to_server,
                LegalHoldServicer(stores.holds, pepper, tokens, clock),
            ),
            registered("results.v1.ImportService", add_ImportServiceServicer_to_server, ImportServicer(imports)),
            registered("results.v1.ResultsAdminService", add_ResultsAdminServiceServicer_to_server, admin),
            registered("exchange.v1.ExchangeService", add_ExchangeServiceServicer_to_server, exchange),
            registered(
                "results.v1.TimelinessService",
                add_TimelinessServiceServicer_to_server,
                TimelinessServicer(stores.timeliness, tokens, clock),
            ),
            approval_registration(ApprovalServicer(approvals, grants, tokens)),
            audit.registration,
        ),
        check=check,
        close=close,
        # The workers start before the background jobs, because work on a backlog takes the processor time that the
        # workers need to start.
        start=start,
        background=(
            stores.partitions.run,
            stores.delay_totals.run,
            missing_reports.run,
            *audit.jobs,
            approvals.count,
            *((replicas.run,) if replicas is not None else ()),
            *((StoredPositives(database, clock, timing, node).run,) if node != NATION else ()),
            *(link.jobs if link is not None else ()),
        ),
        drain=drain,
        owner_of=owner_of,
        audit=audit.trail,
    )


def _link(
    settings: Settings,
    stores: Stores,
    sent: UpstreamStore,
    pepper: Pepper,
    clock: Clock,
    trail: AuditTrail,
    freshness: NodeRegistry,
) -> UpstreamLink | None:
    """Return the link to the node above; None if the settings name no such node."""
    if not settings.upstream:
        return None
    notifications = NotificationStore(
        stores.database, clock, settings.jurisdiction, stores.applier, stores.partitions, trail, stores.lab_cache
    )
    return UpstreamLink(
        settings,
        sent,
        notifications,
        pepper,
        clock,
        stores.timing,
        stores.limits,
        partial(StatementsBelow, stores.database, freshness.list_below),
    )
